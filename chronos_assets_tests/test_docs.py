"""The documentation holds: it builds without a broken link, names every parameter, and its commands are run somewhere."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from chronos_assets.params.document import Section
from chronos_assets.params.forecast import ParamsError
from chronos_assets.params.hyperparameters import HYPERPARAMETERS
from chronos_assets.params.reader import parse_params
from chronos_assets_tests.conftest import REPOSITORY

DOCS = REPOSITORY / "docs"
PAPERS = [REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md")]
PAGES = sorted(DOCS.rglob("*.md"))
BLOB = "https://github.com/chronos-assets/chronos-assets/blob/main/"


def test_the_site_builds_strictly(tmp_path: Path) -> None:
    """A broken link, a missing anchor or a page outside of the navigation is a warning, and fails."""
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path / "site"],
        cwd=REPOSITORY,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "site" / "index.html").is_file()


@pytest.mark.parametrize("page", [*PAPERS, *PAGES], ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_links_into_the_repository_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if target.startswith(BLOB):
            assert (REPOSITORY / target.removeprefix(BLOB)).exists(), target
        elif "://" not in target:
            assert (page.parent / target).exists(), target


def test_the_readme_is_a_front_door() -> None:
    text = (REPOSITORY / "README.md").read_text()
    assert len(text.splitlines()) < 150
    assert all(f"(docs/{page.relative_to(DOCS)})" in text for page in DOCS.glob("*.md") if page.name != "index.md")
    picture = DOCS / "assets" / "ui.png"
    assert f"({picture.relative_to(REPOSITORY)})" in text
    assert picture.stat().st_size < 200_000


def test_every_decision_is_in_the_index() -> None:
    index = (DOCS / "decisions" / "index.md").read_text()
    pages = {page.name: page.read_text() for page in (DOCS / "decisions").glob("*.md") if page.name != "index.md"}
    assert set(re.findall(r"\]\((\S+?\.md)\)", index)) == pages.keys()
    for text in pages.values():
        assert re.findall(r"^\*\*(\w+)[.:]", text, re.MULTILINE) == ["Status", "Context", "Decision", "Consequences"]


def test_the_picture_of_the_imports_is_up_to_date() -> None:
    command = [sys.executable, REPOSITORY / "tools" / "import_graph.py", "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_modules_that_docstrings_and_comments_name_are_there() -> None:
    """`room.module` in backquotes leads a reader somewhere; what follows the module's name is not looked at."""
    package = REPOSITORY / "chronos_assets"
    rooms = "|".join(path.name for path in package.iterdir() if (path / "__init__.py").is_file())
    named = {
        (source.relative_to(package).as_posix(), room, module)
        for source in package.rglob("*.py")
        for room, module in re.findall(rf"`(?:chronos_assets\.)?({rooms})\.(?!json`)(\w+)[.\w]*`", source.read_text())
    }
    assert len(named) > 100
    files = ("params", "json")  # params.json is the file of that name
    assert not [
        each
        for each in named
        if each[1:] != files
        and not ((package / each[1] / f"{each[2]}.py").is_file() or (package / each[1] / each[2]).is_dir())
    ]


# --- Commands


def _blocks() -> str:
    """Every command of the documentation: its sh blocks and its inline code."""
    texts = [page.read_text() for page in (*PAPERS, *PAGES)]
    blocks = [block for text in texts for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL)]
    return "\n".join([*blocks, *(code for text in texts for code in re.findall(r"`([^`\n]+)`", text))])


def _commands() -> set[tuple[str, ...]]:
    """(subcommand,) or (subcommand, action) of `chronos-assets`."""
    found = re.findall(r"chronos-assets (model|endpoint) ([a-z-]+)|chronos-assets ([a-z][a-z-]*)", _blocks())
    return {tuple(word for word in words if word) for words in found}


@pytest.mark.parametrize("command", sorted(_commands()), ids=" ".join)
def test_every_command_is_run_by_ci_or_by_a_test(command: tuple[str, ...]) -> None:
    by_ci = f".venv/bin/chronos-assets {' '.join(command)}" in (REPOSITORY / ".ci" / "run").read_text()
    arguments = re.compile(r",\s*".join(f'"{word}"' for word in command))
    tests = (path for path in (REPOSITORY / "chronos_assets_tests").rglob("*.py") if path != Path(__file__))
    assert by_ci or any(arguments.search(path.read_text()) for path in tests)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\bmake ([a-z-]+)(?=[ `\n]|$)", _blocks()))))
def test_every_make_target_is_a_recipe(target: str) -> None:
    done = subprocess.run(["make", "-n", target], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# --- params.json


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> dict[str, set[str]]:
    """Every key that the reader of params.json knows, by the path of the object that holds it.

    A document whose missing objects, lists and words are filled in as the reader asks for them: so all of it is read.
    """
    known: dict[str, set[str]] = {}

    def record(path: str, *names: str) -> None:
        known.setdefault(re.sub(r"\[\d+\]", "", path), set()).update(names)

    def filled(method: str, value: Any) -> None:
        original = getattr(Section, method)

        def fill(self: Section, name: str, *arguments: Any, **options: Any) -> Any:
            self.value.setdefault(name, value(arguments))  # type: ignore[attr-defined]
            return original(self, name, *arguments, **options)

        monkeypatch.setattr(Section, method, fill)

    has, finish = Section.has, Section.finish
    monkeypatch.setattr(Section, "has", lambda self, name: (record(self.path, name), has(self, name))[1])
    monkeypatch.setattr(
        Section, "finish", lambda self, ignored: (record(self.path, *ignored), finish(self, ignored))[1]
    )
    filled("section", lambda _: {})
    filled("sections", lambda _: [{}])
    filled("text", lambda _: "x")
    filled("choice", lambda arguments: arguments[0][0])
    ranges = {"learning_rate": {}, "finetune_mode": {"Type": "Categorical"}}
    document = {
        "Datasets": [{"Schema": {"Attributes": [{}]}}],
        "Chronos": {"Training": {"Ranges": ranges}},
    }
    with pytest.raises(ParamsError):
        parse_params(document)
    return known


def _rows(text: str) -> Iterator[list[str]]:
    """Cells of the rows of tables whose first cell is code."""
    for line in text.splitlines():
        if line.startswith("| `"):
            yield [cell.strip() for cell in line.strip("|").split("|")]


def test_every_key_of_params_json_is_documented(keys: dict[str, set[str]]) -> None:
    assert {"", "DatasetGroup", "Datasets", "Predictor", "Forecast", "Chronos", "Chronos.Training"} <= keys.keys()
    documented = set(re.findall(r"`([^`\n]+)`", (DOCS / "params.md").read_text()))
    # The keys of these objects are names of the user's, or of hyperparameters.
    ours = {path: names for path, names in keys.items() if path not in ("Chronos.Columns", "Chronos.Training.Ranges")}
    assert not {f"{path}.{name}" for path, names in ours.items() for name in names if name not in documented}


def test_no_documented_key_is_made_up(keys: dict[str, set[str]]) -> None:
    known = {name for names in keys.values() for name in names}
    text = (DOCS / "params.md").read_text()
    tables = re.findall(r"^\| (?:key|`Chronos\.\S*`) \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert len(tables) >= 10
    told = {name for table in tables for row in _rows(table) for name in re.findall(r"`([^`]+)`", row[0])}
    assert told <= known | {"..."}
    ignored = text.split("\n## Accepted without effect\n", 1)[1]
    assert set(re.findall(r"`([A-Z]\w+)`", ignored)) <= known


def test_every_hyperparameter_is_documented() -> None:
    section = (DOCS / "params.md").read_text().split("\n#### Hyperparameters\n", 1)[1].split("\n#### ", 1)[0]
    told = {name for row in _rows(section) for name in re.findall(r"`([a-z_]+)`", row[0])}
    assert told == set(HYPERPARAMETERS)
