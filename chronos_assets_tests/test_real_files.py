"""Real files of several kinds without params.json: what is inferred of each is what the guide says."""

from __future__ import annotations

import gzip
import re
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import pytest

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.pipeline.dataset_import import import_dataset
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.state import GroupState
from chronos_assets.settings import Settings
from chronos_assets.timeseries.dataset.melting import melt
from chronos_assets.timeseries.dataset.train_files import TrainFile

pytestmark = pytest.mark.process  # real files of tens of thousands of rows, imported whole

GUIDE = Path(__file__).resolve().parent.parent / "docs" / "your-data.md"


class Silent:
    """A context whose log nobody reads."""

    @property
    def log(self) -> Silent:
        return self

    def info(self, message: str) -> None: ...

    def warning(self, message: str) -> None: ...


def documented() -> dict[str, list[str]]:
    """The guide's table: file name -> cells behind it."""
    found = {}
    for line in GUIDE.read_text().splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        name = re.search(r"`([\w-]+\.(?:csv|csv\.gz|parquet|txt))`", cells[0])
        if name is not None and len(cells) == 7:
            found[name[1]] = [cell.replace("`", "") for cell in cells[1:]]
    return found


def source(shared_data: Path, name: str) -> Path:
    (found,) = (shared_data / "samples").rglob(name)
    return found


def imported(root: Path, source: Path) -> tuple[GroupState, list[str]]:
    """The group after an import of one file, and what the guide says of it."""
    train = root / "train"
    train.mkdir(parents=True)
    (train / source.name).write_bytes(source.read_bytes())
    state = GroupState(Group(Settings(store=str(root))))
    result = import_dataset(state, Silent())
    params, manifest = result.params, result.manifest
    keys = ", ".join(name for name in (params.item_column, *params.dimensions) if name is not None)
    numbers = (f"{manifest.series:,}", f"{sum(manifest.files.values()):,}")
    return state, [params.target_column, keys, str(params.frequency), str(params.horizon), *numbers]


FORECAST = [name for name, cells in documented().items() if cells[-1]]
REFUSED = [name for name, cells in documented().items() if not cells[-1]]


def test_the_table_has_files_of_several_kinds() -> None:
    assert len(FORECAST) >= 6
    assert len(REFUSED) == 2
    assert len({documented()[name][2] for name in FORECAST}) == 3


@pytest.mark.parametrize("name", FORECAST)
def test_what_the_guide_says_is_inferred(tmp_path: Path, shared_data: Path, name: str) -> None:
    state, found = imported(tmp_path, source(shared_data, name))
    assert found == documented()[name]
    manifest = state.require_manifest()
    assert manifest.observed == sum(manifest.files.values())  # no row is summed, left out or set aside


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_guide_says_is_refused_is_read_once_it_is_melted(tmp_path: Path, shared_data: Path, name: str) -> None:
    whole = source(shared_data, name)
    path = tmp_path / "beginning.csv"
    with gzip.open(whole, "rt") if whole.suffix == ".gz" else whole.open() as lines:
        path.write_text("".join(islice(lines, 3000)))
    with pytest.raises(ChronosAssetsError) as caught:
        imported(tmp_path / "wide", path)
    assert "`chronos-assets melt FILE OUTPUT`" in str(caught.value)
    long = tmp_path / "long.csv"
    rows, _ = melt(TrainFile(path, name, datetime(2024, 1, 1, tzinfo=UTC)), long, ["Global_active_power", "Voltage"])
    _, found = imported(tmp_path / "long", long)
    frequency = "H" if "hourly" in name else "1min"
    assert found[:3] == ["target_value", "item_id", frequency]
    assert found[4:] == ["2", f"{rows:,}"]
