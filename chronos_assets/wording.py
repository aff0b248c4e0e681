"""What every room words alike: numbers with their nouns, long lists, and the reason of another library's error."""

from __future__ import annotations

from collections.abc import Sequence


def counted(number: int, noun: str) -> str:
    """A number with its noun: "1 row", "2,000 rows"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def some_of(names: Sequence[str], most: int) -> str:
    """The first names, and how many others there are: "a, b and 3 more"."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def first_of(names: Sequence[str], most: int, separator: str = ", ") -> str:
    """The first names, and whether there are others: "a, b, …"."""
    return separator.join([*names[:most], *["…"] * (len(names) > most)])


def first_line(error: BaseException) -> str:
    """What an error says, without what follows in further lines; its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
