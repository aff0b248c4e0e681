"""The options of a section of `params.json`, each declared once: its type and default, its key, how it is read and written.

```python
@dataclass(frozen=True)
class ExportParams:
    max_megabytes: Annotated[int | None, Option("MaxMegabytes", whole(1))] = None
```

Here: what reads and writes such a class, and the readers that several sections use. Elsewhere: a section itself
(`document`), the classes, each beside what it is about.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar, get_args, get_type_hints

from chronos_assets.params.document import Section

T = TypeVar("T")

Read = Callable[[Section, str], Any]
"""Gives the value of a key; None where it is missing or, which goes to the findings, wrong."""


@dataclass(frozen=True)
class Option:
    """Annotates the field that a key sets.

    Attributes:
        key: in the section.
        read: gives its value.
        write: a value -> what the document has, which reads back as it.
    """

    key: str
    read: Read
    write: Callable[[Any], Any] = lambda value: value


def _declared(kind: Any) -> Mapping[str, Option]:
    """Field -> its option, in the order of a class's fields."""
    hints = get_type_hints(kind, include_extras=True)
    found = {
        field.name: next((each for each in get_args(hints[field.name])[1:] if isinstance(each, Option)), None)
        for field in dataclasses.fields(kind)
    }
    return {name: option for name, option in found.items() if option is not None}


_options: Callable[[Any], Mapping[str, Option]] = cache(_declared)


def read_options(kind: type[T], section: Section, **others: Any) -> T:
    """The options of a section; the default where a key is missing or wrong.

    Args:
        kind: a dataclass, whose fields are annotated with an `Option` or among `others`, or have their defaults.
        section: that holds the keys.
        others: fields that aren't read from one key.
    """
    values = {name: option.read(section, option.key) for name, option in _options(kind).items()}
    return kind(**{name: value for name, value in values.items() if value is not None}, **others)


def options_document(kind: type[Any], value: Any) -> dict[str, Any]:
    """The JSON value of the section that reads back as `value`: only what differs from the defaults of `kind`."""
    default = kind()
    return {
        option.key: option.write(getattr(value, name))
        for name, option in _options(kind).items()
        if getattr(value, name) != getattr(default, name)
    }


def whole(low: int, high: int | None = None) -> Read:
    """Reads a whole number from `low` to `high`."""
    return lambda section, key: section.integer(key, low=low, high=high)


def one_of(choices: Any) -> Read:
    """Reads one of the texts of a `Literal`."""
    return lambda section, key: section.choice(key, get_args(choices))


def nested(key: str, kind: type[Any]) -> Option:
    """The option that is a section of its own, all of whose keys are declared in a class."""

    def read(section: Section, key: str) -> Any:
        found = section.section(key)
        if found is None:
            return None
        value = read_options(kind, found)
        found.finish({})
        return value

    return Option(key, read, lambda value: options_document(kind, value))


any_seed: Read = whole(0, 2**32 - 1)
