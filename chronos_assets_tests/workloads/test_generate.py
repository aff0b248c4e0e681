"""The generate workload: what it writes, that every parameter counts, and what it refuses."""

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from chronos_assets.container.contract import PIPES_VARIABLE, ROOT_VARIABLE, WorkloadError
from chronos_assets.timeseries.dataset.gluonts_arrow import Entry, read_arrow
from chronos_assets.workloads import generate
from chronos_assets_tests.workloads.listener import Listener
from chronos_assets_tests.workloads.processing_root import processing_root

SMALL = {"length": 48, "sizes": {"train": 12, "validation": 5, "test": 4}}
FILES = ["manifest.json", "test.arrow", "train.arrow", "validation.arrow"]


def run(root: Path, **changes: Any) -> tuple[Path, dict[str, Any]]:
    """The output folder, and what the workload reported."""
    workspace, listener = processing_root(root, SMALL | changes), Listener()
    generate.main(workspace, listener)
    (message,) = listener.messages
    return workspace.output("synthetic"), message["synthetic"]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def split(folder: Path, name: str) -> list[Entry]:
    return list(read_arrow(folder / f"{name}.arrow"))


def test_three_independent_splits_are_written(tmp_path):
    folder, _ = run(tmp_path)
    assert sorted(contents(folder)) == FILES
    targets = []
    for name, size in SMALL["sizes"].items():
        rows = split(folder, name)
        assert [item for item, _, _ in rows] == [f"{name}-{number}" for number in range(size)]
        assert {str(start) for _, start, _ in rows} == {"2000-01-01T00:00:00"}
        assert all(target.shape == (48,) and np.isfinite(target).all() for _, _, target in rows)
        targets += [target.tobytes() for _, _, target in rows]
    assert len(set(targets)) == len(targets)


def test_the_manifest_says_what_made_the_files(tmp_path):
    folder, message = run(tmp_path, workers=2)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["parameters"] == SMALL | {"seed": 0, "max_kernels": 5, "start": "2000-01-01T00:00:00"}
    assert manifest["sizes"] == SMALL["sizes"]
    for name, about in manifest["files"].items():
        file = (folder / name).read_bytes()
        assert about == {"bytes": len(file), "sha256": hashlib.sha256(file).hexdigest()}
    assert sorted([*manifest["files"], "manifest.json"]) == FILES
    assert message["data_version"] == manifest["data_version"]


def test_the_message_shows_numbers_and_examples(tmp_path):
    folder, message = run(tmp_path, length=600)
    assert {name: message[name] for name in generate.SPLITS} == SMALL["sizes"]
    assert message["length"] == 600
    assert message["workers"] == 1
    assert message["series_per_second"] > 0
    assert len(message["examples"]) == generate.EXAMPLES
    for example, (_, _, target) in zip(message["examples"], split(folder, "train"), strict=False):
        assert "(" in example["expression"] or example["expression"] == "Constant"
        values = np.array(example["values"])
        assert 60 <= len(values) <= 120
        assert np.isclose(values.max(), target.max(), rtol=1e-5)
        assert np.isclose(values.min(), target.min(), rtol=1e-5)


def test_a_short_example_is_shown_whole(tmp_path):
    folder, message = run(tmp_path)
    first = split(folder, "train")[0][2]
    assert np.allclose(message["examples"][0]["values"], first, rtol=1e-5)


def test_the_same_parameters_give_the_same_bytes(tmp_path):
    first, _ = run(tmp_path / "first")
    again, _ = run(tmp_path / "again")
    assert contents(again) == contents(first)


@pytest.fixture(scope="module")
def usual(tmp_path_factory):
    return run(tmp_path_factory.mktemp("usual"))[0]


def data_version(folder: Path) -> str:
    return json.loads((folder / "manifest.json").read_text())["data_version"]


def test_the_seed_counts(tmp_path, usual):
    folder, _ = run(tmp_path, seed=1)
    assert all(
        not np.array_equal(one, other)
        for (_, _, one), (_, _, other) in zip(split(folder, "train"), split(usual, "train"), strict=True)
    )


def test_the_length_counts(tmp_path):
    folder, _ = run(tmp_path, length=50)
    assert {target.shape for name in generate.SPLITS for _, _, target in split(folder, name)} == {(50,)}


def test_the_number_of_kernels_counts(tmp_path):
    _, one = run(tmp_path / "one", max_kernels=1)
    _, many = run(tmp_path / "many", max_kernels=10)
    operators = [sum(map(example["expression"].count, " *")) for example in one["examples"]]
    assert not any(operators)
    assert max(len(example["expression"].split()) for example in many["examples"]) > 2 * 5 - 1


def test_the_start_counts(tmp_path, usual):
    folder, _ = run(tmp_path, start="2021-06-01T12:30")
    assert {str(start) for _, start, _ in split(folder, "test")} == {"2021-06-01T12:30:00"}
    assert data_version(folder) != data_version(usual)


@pytest.mark.parametrize("name", generate.SPLITS)
def test_each_size_counts_and_a_larger_split_begins_with_the_smaller(tmp_path, usual, name):
    larger, _ = run(tmp_path, sizes=SMALL["sizes"] | {name: 20})
    before, after = contents(usual), contents(larger)
    for other in set(generate.SPLITS) - {name}:
        assert after[f"{other}.arrow"] == before[f"{other}.arrow"]
    rows, fewer = split(larger, name), split(usual, name)
    assert len(rows) == 20
    assert all(one[0] == other[0] and np.array_equal(one[2], other[2]) for one, other in zip(rows, fewer, strict=False))


def test_sizes_and_all_else_have_defaults():
    request = generate.parse_request({"sizes": {"train": 7}})
    assert asdict(request.sizes) == {"train": 7, "validation": 100, "test": 100}
    assert (request.seed, request.length, request.max_kernels, request.start) == (0, 1024, 5, "2000-01-01T00:00:00")
    assert request.processes == 1
    assert generate.parse_request({"sizes": {"train": 1_000_000}}).processes == os.cpu_count()
    assert generate.parse_request({"workers": None}) == generate.parse_request({})


def test_as_a_program_two_workers_give_the_bytes_of_one(tmp_path):
    """More series than a worker makes at a time, with long products among them, which are factorised densely."""
    outputs = []
    for workers in (1, 2):
        document = {"length": 300, "sizes": {"train": 60, "validation": 10, "test": 10}, "max_kernels": 8}
        workspace = processing_root(tmp_path / str(workers), document | {"workers": workers})
        env = {name: value for name, value in os.environ.items() if name != PIPES_VARIABLE}
        # A machine with another number of threads must not matter.
        env |= {ROOT_VARIABLE: str(workspace.root), "OPENBLAS_NUM_THREADS": str(3 - workers)}
        command = [sys.executable, "-m", "chronos_assets.workloads.generate"]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        assert json.loads(done.stdout)["synthetic"]["workers"] == workers
        outputs.append(contents(workspace.output("synthetic")))
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"seeds": 1}, "seeds not known (there are seed, length, max_kernels, sizes, start, workers)"),
        ({"seed": -1}, "seed is -1: it must be a whole number from 0 to"),
        ({"seed": "one"}, "seed is 'one': it must be a whole number"),
        ({"length": 1}, "length is 1: it must be a whole number from 2 to 8192"),
        ({"length": 512.0}, "length is 512.0: it must be a whole number"),
        ({"max_kernels": 0}, "max_kernels is 0: it must be a whole number from 1 to 10"),
        ({"max_kernels": True}, "max_kernels is True"),
        ({"sizes": [100]}, "sizes is [100]: it must be an object"),
        ({"sizes": {"dev": 1}}, "sizes.dev not known"),
        ({"sizes": {"test": 0}}, "sizes.test is 0: it must be a whole number from 1"),
        ({"workers": 0}, "workers is 0: it must be a whole number from 1 to 256"),
        ({"start": "yesterday"}, "start is 'yesterday': it must be a time in whole seconds"),
        ({"start": "2020-01-01T00:00:00Z"}, "it must be a time in whole seconds"),
        ({"start": "2020-01-01T00:00:00+02"}, "it must be a time in whole seconds"),
        ({"start": "2020-01-01T00:00:00.5"}, "it must be a time in whole seconds"),
        ({"start": 2020}, "start is 2020"),
        ({"start": ""}, "start is ''"),
        ({"seed": -1, "length": 1, "seeds": 1}, "not known (there are seed, length"),
        ({"seed": -1, "length": 1, "seeds": 1}, "; seed is -1: it must be a whole number from 0 to"),
        ({"seed": -1, "length": 1, "seeds": 1}, "; length is 1: it must be"),
    ],
)
def test_bad_parameters_are_refused_by_name(changes, said):
    with pytest.raises(WorkloadError) as caught:
        generate.parse_request(changes)
    assert said in str(caught.value)
