"""The tree of errors: one root, one name each, translated at Dagster's edge."""

import ast
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

import chronos_assets
from chronos_assets.defs.failures import failures
from chronos_assets.errors import ChronosAssetsError
from chronos_assets.platforms.store import StoreKeyError

PACKAGE = Path(chronos_assets.__file__).parent
# A client that stands alone, and a signal, which no `except Exception` may catch.
ALONE = {PACKAGE / "platforms" / "aws" / "sagemaker"}


def _errors() -> Iterator[tuple[str, list[str]]]:
    """Name and bases of each public exception of the package."""
    classes = {}
    for path in PACKAGE.rglob("*.py"):
        if not ALONE & set(path.parents):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ClassDef):
                    classes[node.name] = [ast.unparse(base) for base in node.bases]

    def is_error(name: str) -> bool:
        if name in classes:
            return any(map(is_error, classes[name]))
        return name.endswith(("Error", "Exception"))

    for name, bases in classes.items():
        if not name.startswith("_") and name != "ChronosAssetsError" and is_error(name):
            yield name, bases


@pytest.mark.process
def test_every_error_descends_from_the_root() -> None:
    bases = dict(_errors())

    def descends(name: str) -> bool:
        return name == "ChronosAssetsError" or any(map(descends, bases.get(name, [])))

    assert [name for name in bases if not descends(name) and bases[name] != ["BaseException"]] == []


def test_an_error_reaches_the_ui_as_a_failure_with_its_message() -> None:
    with pytest.raises(dg.Failure) as failure, failures():
        raise StoreKeyError("a key can't start with a slash: remove it")
    assert failure.value.description == "a key can't start with a slash: remove it"
    assert isinstance(failure.value.__cause__, ChronosAssetsError)


def test_other_errors_keep_their_traceback() -> None:
    with pytest.raises(KeyError), failures():
        raise KeyError("a bug")
