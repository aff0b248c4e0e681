"""The images' Dockerfiles: without warnings, from the lock, and their steps done in a clean environment."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
import urllib.request
import venv
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from chronos_assets_tests.conftest import REPOSITORY
from chronos_assets_tests.docker.dockerfile import DOCKER, Stage, context, read
from chronos_assets_tests.ports import free_port

IMAGES = ("dagster.Dockerfile", "sagemaker.Dockerfile")


@pytest.mark.parametrize("image", IMAGES)
def test_hadolint_has_nothing_to_say(image: str) -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([hadolint, DOCKER / image], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("image", IMAGES)
def test_base_images_have_a_tag_and_are_one(image: str) -> None:
    bases = {stage.base for stage in read(image)}
    assert bases == {"python:3.11-slim-bookworm"}


@pytest.mark.parametrize("image", IMAGES)
def test_what_is_copied_is_let_into_the_build(image: str) -> None:
    let_in = {path.relative_to(REPOSITORY).as_posix() for path in context()}
    copied = {
        source
        for stage in read(image)
        for text in stage.all("COPY")
        if not text.startswith("--from")
        for source in text.split()[:-1]
    }
    assert copied <= let_in
    assert {"pyproject.toml", "requirements.lock", "README.md", "chronos_assets"} <= copied


def test_nothing_is_let_into_a_build_that_no_image_copies() -> None:
    copied = {
        source
        for image in IMAGES
        for stage in read(image)
        for text in stage.all("COPY")
        for source in text.split()[:-1]
    }
    assert {path.relative_to(REPOSITORY).as_posix() for path in context()} <= copied


@pytest.mark.parametrize("image", IMAGES)
def test_packages_come_from_the_lock_and_none_is_a_developers(image: str) -> None:
    for stage in read(image):
        installs = [part.strip() for part in stage.shell().split("&&") if "pip install" in part]
        assert all("--constraint requirements.lock" in part or "--no-deps" in part for part in installs)
        assert "dev" not in _extras(stage)


@pytest.mark.parametrize("image", IMAGES)
def test_the_lock_has_everything_that_the_image_installs_in_a_version_that_fits(image: str) -> None:
    lines = (REPOSITORY / "requirements.lock").read_text().splitlines()
    locked = {
        canonicalize_name(name): version for name, equal, version in (line.partition("==") for line in lines) if equal
    }
    (extras,) = (_extras(stage) for stage in read(image) if _extras(stage))
    assert extras <= {"aws", "baselines", "dashboard", "lora", "postgres"}
    for requirement in _closure("chronos-assets", extras):
        name = canonicalize_name(requirement.name)
        # Of torch's CUDA build, whose own metadata pin them; and of the project's, which may have any.
        if name.startswith(("nvidia-", "cuda-")) or name in ("triton", "setuptools", "chronos-assets"):
            continue
        assert name in locked, name
        assert requirement.specifier.contains(locked[name], prereleases=True), (
            f"{requirement}: {locked[name]} is locked"
        )


def _extras(stage: Stage) -> set[str]:
    _, opening, rest = stage.shell().partition('".[')
    return set(rest.partition("]")[0].split(",")) if opening else set()


def _closure(name: str, extras: set[str]) -> list[Requirement]:
    """All that a distribution with these extras requires on Linux, and what that requires."""
    found: list[Requirement] = []
    seen: set[tuple[str, str]] = set()
    todo = [(canonicalize_name(name), extra) for extra in {"", *extras}]
    while todo:
        item = todo.pop()
        if item in seen:
            continue
        seen.add(item)
        for text in requires(item[0]) or ():
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": item[1]}):
                found.append(requirement)
                todo += [(canonicalize_name(requirement.name), extra) for extra in {"", *requirement.extras}]
    return found


def test_dagster_is_not_root_and_its_folders_are_its_own() -> None:
    *_, final = read("dagster.Dockerfile")
    assert final.all("USER") == ["10001:10001"]
    assert "useradd --uid 10001" in final.shell()
    environment = final.environment()
    made = final.shell().partition("install --directory --owner dagster")[2]
    for folder in (environment["DAGSTER_HOME"], environment["CHRONOS_STORE"], "/opt/dagster/aws", "/opt/dagster/logs"):
        assert folder in made
    # Set once the packages are there: what runs can't change them.
    words = [word for word, _ in final.instructions]
    assert words.index("USER") > max(place for place, word in enumerate(words) if word == "RUN")


def test_dagster_has_an_instance_for_each_way_to_run_it() -> None:
    *_, final = read("dagster.Dockerfile")
    copies = dict(text.split() for text in final.all("COPY") if not text.startswith("--from"))
    assert copies == {
        "docker/dagster-postgres.yaml": "/opt/dagster/postgres/dagster.yaml",
        "docker/dagster-aws.yaml": "/opt/dagster/aws/dagster.yaml",
        "docker/workspace.yaml": "/opt/dagster/workspace.yaml",
    }


def test_sagemaker_gets_what_it_asks_of_an_image() -> None:
    *_, final = read("sagemaker.Dockerfile")
    # `docker run <image> train`, and `serve`: the words reach the entry point.
    assert final.command("ENTRYPOINT") == ["python", "-m", "chronos_assets.workloads"]
    assert not final.all("CMD")
    assert not final.all("USER")
    assert final.all("LABEL") == ["com.amazonaws.sagemaker.capabilities.accept-bind-to-port=true"]
    assert final.environment()["PYTHONUNBUFFERED"] == "1"
    assert not [name for name in final.environment() if name.startswith("SM_")]


# --- the steps, without Docker ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment into which the wheel was installed as the images install it.

    The packages are those of the tests' own environment, which the lock made too: torch alone would take minutes.
    """
    root = tmp_path_factory.mktemp("image")
    build = root / "build"
    build.mkdir()
    for path in context():
        if path.is_dir():
            shutil.copytree(path, build / path.name, ignore=shutil.ignore_patterns("__pycache__"))
        elif path.parent == REPOSITORY:
            shutil.copy(path, build)
    (wheel,) = (stage for stage in read("sagemaker.Dockerfile") if stage.name == "wheel")
    assert wheel.all("RUN") == ["pip wheel --no-cache-dir --no-deps --wheel-dir /wheels ."]
    _pip(
        Path(sys.executable),
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--wheel-dir",
        root / "wheels",
        ".",
        at=build,
    )
    venv.create(root / "venv", with_pip=False, symlinks=True)
    python = root / "venv" / "bin" / "python"
    (there,) = (root / "venv" / "lib").glob("*/site-packages")
    # A path alone: the project that is installed there to be edited stays out.
    (there / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
    (built,) = (root / "wheels").iterdir()
    _pip(
        Path(sys.executable),
        "--python",
        python,
        "install",
        "--no-deps",
        "--no-index",
        "--ignore-installed",
        built,
        at=root,
    )
    return python


def _pip(python: Path, *arguments: str | Path, at: Path) -> None:
    done = subprocess.run([python, "-m", "pip", *arguments], capture_output=True, text=True, check=False, cwd=at)
    assert done.returncode == 0, done.stdout + done.stderr


def _start(python: Path, command: list[str], root: Path, **environment: str) -> subprocess.Popen[str]:
    """Start an image's command: `python` is found first on the PATH, and nothing is known of the repository."""
    return subprocess.Popen(
        command,
        cwd=root,
        env={
            **{key: value for key, value in os.environ.items() if not key.startswith(("PYTHONPATH", "CHRONOS_"))},
            "PATH": f"{python.parent}:{os.environ['PATH']}",
            "PYTHONWARNINGS": "ignore",
            "CHRONOS_ML_ROOT": str(root),
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _entry_point() -> list[str]:
    return read("sagemaker.Dockerfile")[-1].command("ENTRYPOINT")


def test_the_wheel_is_what_runs_and_has_the_bundled_model(image: Path, tmp_path: Path) -> None:
    code = "import chronos_assets.models as m, pathlib; print(pathlib.Path(m.__file__).parent)"
    process = _start(image, ["python", "-c", code], tmp_path)
    where = Path(process.communicate(timeout=60)[0].strip())
    assert where.is_relative_to(image.parent.parent)
    assert {"config.json", "model.safetensors"} <= {path.name for path in (where / "bundled").iterdir()}


def test_serve_answers_where_it_is_asked_to_listen(image: Path, tmp_path: Path) -> None:
    port = free_port()
    process = _start(image, [*_entry_point(), "serve"], tmp_path, SAGEMAKER_BIND_TO_PORT=str(port))
    try:
        end = time.monotonic() + 60
        while not _answers(f"http://127.0.0.1:{port}/ping"):
            assert process.poll() is None, process.stdout.read()  # type: ignore[union-attr]
            assert time.monotonic() < end
            time.sleep(0.1)
    finally:
        process.terminate()
        output = process.communicate(timeout=60)[0]
    assert process.returncode == 0, output


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as response:  # noqa: S310 - of this test's own server
            return bool(response.status == 200)
    except OSError:
        return False


def test_train_and_a_processing_job_start_and_leave_their_reason_where_sagemaker_reads_it(
    image: Path, tmp_path: Path
) -> None:
    whole = [*_entry_point(), "generate"]  # a processing job's own ContainerEntrypoint
    started = {name: tmp_path / name for name in ("train", "generate")}
    for root in started.values():
        root.mkdir()
    processes = {
        "train": _start(image, [*_entry_point(), "train"], started["train"]),
        "generate": _start(image, whole, started["generate"]),
    }
    for name, process in processes.items():
        output = process.communicate(timeout=120)[0]
        assert process.returncode == 1, output
        reason = (started[name] / "output" / "failure").read_text()
        assert reason in " ".join(output.split())
    assert "no parameters at" in (started["generate"] / "output" / "failure").read_text()


def test_a_processing_job_does_its_work(image: Path, tmp_path: Path) -> None:
    parameters: dict[str, Any] = {"length": 48, "sizes": {"train": 2, "validation": 1, "test": 1}}
    (tmp_path / "input" / "config").mkdir(parents=True)
    (tmp_path / "input" / "config" / "parameters.json").write_text(json.dumps(parameters))
    process = _start(image, [*_entry_point(), "generate"], tmp_path)
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    (channel,) = (tmp_path / "processing" / "output").iterdir()
    assert {"train.arrow", "validation.arrow", "test.arrow"} <= {path.name for path in channel.iterdir()}


def test_the_code_location_loads_from_the_wheel(image: Path, tmp_path: Path) -> None:
    code = "from chronos_assets.definitions import defs; print(len(list(defs.assets)))"
    process = _start(image, ["python", "-c", code], tmp_path, CHRONOS_STORE=str(tmp_path), DAGSTER_HOME=str(tmp_path))
    output = process.communicate(timeout=120)[0]
    assert process.returncode == 0, output
    assert int(output.split()[-1]) > 5
