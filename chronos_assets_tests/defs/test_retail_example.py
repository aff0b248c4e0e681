"""examples/retail: its files are those of its generator, and everything in them is imported."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import dagster as dg
import pytest

from chronos_assets.cli import main
from chronos_assets.cli.copying import copy_data
from chronos_assets.defs.main_job import import_inputs
from chronos_assets.params.reader import load_params
from chronos_assets_tests.conftest import REPOSITORY
from chronos_assets_tests.defs.line import Line, make_line

FOLDER = REPOSITORY / "examples" / "retail"


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("retail_generator", FOLDER / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def line(tmp_path: Path) -> Iterator[Line]:
    with dg.DagsterInstance.ephemeral() as instance:
        made = make_line(tmp_path / "store", instance)
        (made.root / "train" / "demand.csv").unlink()
        copy_data(FOLDER, made.group)
        yield made


def test_the_generator_makes_the_files_again(generator: ModuleType, tmp_path: Path) -> None:
    generator.main(tmp_path)
    made = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert made.keys() == {"params.json", "train/sales.csv", "related/prices.csv", "item_metadata/items.csv"}
    assert made == {name: (FOLDER / name).read_bytes() for name in made}


def test_its_parameters_use_everything_there_is() -> None:
    params = load_params((FOLDER / "params.json").read_bytes())
    assert params.related is not None
    assert params.metadata is not None
    assert params.holidays is not None
    assert not [note for note in params.notes if "is not used" in note]


def test_all_of_it_is_imported(line: Line, generator: ModuleType) -> None:
    import_inputs(line.launcher)
    dataset, related, items = line.state.manifest, line.state.related_manifest, line.state.metadata_manifest
    assert dataset is not None
    assert related is not None
    assert items is not None
    assert (dataset.series, related.series, items.items) == (12, 13, 13)
    assert [(each.name, each.known_in_advance) for each in related.attributes] == [("price", True), ("promotion", True)]
    assert (related.uncovered, related.items_without_future, items.uncovered) == (0, {}, 0)
    assert items.newcomers == len(generator.NEW_ITEM)


def test_validate_names_what_explains_the_target(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", str(FOLDER / "params.json")]) == 0
    assert capsys.readouterr().out.splitlines()[1:4] == [
        "related time series: price (of related/), promotion (of related/)",
        "item metadata: category (of item_metadata/), brand (of item_metadata/), size (of item_metadata/)",
        "holidays: DE, Black Friday",
    ]
