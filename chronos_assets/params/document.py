"""Reading a JSON document written by people, so that everything wrong with it is reported at once.

A `Section` hands out the keys of one object with checks of type and range. What is wrong goes to `Findings` with the
key's path, the value, the reason and how to fix it, and reading continues. Nothing here knows what the document is about.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from chronos_assets.errors import ChronosAssetsError

# Stands for a key that is not in the document, where None is JSON's null.
MISSING: Any = object()


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a document.

    key: where, as "Datasets[0].Schema.Attributes[2].AttributeType". value: what stands there, as JSON text cut to a
    readable length, or None where something is missing. reason: what is wrong. fix: what to write instead.
    """

    key: str
    value: str | None
    reason: str
    fix: str

    def __str__(self) -> str:
        shown = "" if self.value is None else f" = {self.value}"
        return f"{self.key}{shown}: {self.reason}; {self.fix}"


class DocumentError(ChronosAssetsError, ValueError):
    """Text that is not a JSON document; `problem` says where and why."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        super().__init__(str(problem))


class _Object(dict[str, Any]):
    """A JSON object that remembers keys given more than once, which `dict` would drop silently."""

    def __init__(self, pairs: Sequence[tuple[str, Any]]) -> None:
        super().__init__(pairs)
        names = [name for name, _ in pairs]
        self.duplicates = tuple(name for name in self if names.count(name) > 1) if len(self) < len(names) else ()


def load_document(text: str | bytes) -> Any:
    """The JSON value of a text (UTF-8, or UTF-16 with a byte order mark).

    Objects remember keys given twice, for `Findings.report_duplicates`.

    Raises:
        DocumentError: with line and column.
    """
    try:
        encoding = "utf-16" if text[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
        decoded = text.decode(encoding) if isinstance(text, bytes) else text.removeprefix("\ufeff")
        return json.loads(decoded, object_pairs_hook=_Object, parse_constant=_refuse_constant, parse_int=_integer)
    except json.JSONDecodeError as error:
        lines = error.doc.splitlines()
        line = lines[error.lineno - 1].strip() if error.lineno <= len(lines) else ""
        where = f"line {error.lineno}, column {error.colno}"
        problem = Problem(where, shown(line) if line else None, *_not_json(error))
        raise DocumentError(problem) from error
    except UnicodeDecodeError as error:
        problem = Problem(f"byte {error.start}", None, "the file is not UTF-8 text", "save it as UTF-8")
        raise DocumentError(problem) from error
    except RecursionError as error:
        problem = Problem("(file)", None, "objects are nested too deeply", "flatten them")
        raise DocumentError(problem) from error
    except ValueError as error:  # from the two functions below
        raise DocumentError(Problem("(file)", None, str(error), "write a plain number")) from error


def _not_json(error: json.JSONDecodeError) -> tuple[str, str]:
    """What is wrong with a text that is no JSON, and how to fix it."""
    before, after = error.doc[: error.pos].rstrip(), error.doc[error.pos :].lstrip()
    if not error.doc.strip():
        return "the file is empty", "write a JSON object between { and }, or remove the file"
    for start, reason, fix in (
        (("#", "//", "/*"), "JSON has no comments", "remove it"),
        (("'", "\u201c", "\u201d", "\u201e", "\u2018"), "JSON has straight double quotes only", 'write "'),
        (("True", "False", "None"), "this is Python and no JSON", "write true, false or null"),
        (("]", "}"), "nothing follows the last comma", "remove the comma") if before.endswith(",") else ((), "", ""),
        (("\u00a0",), "a blank here is one that JSON doesn't know (U+00A0)", "write a plain blank"),
    ):
        if error.doc[error.pos :].startswith(start) or after.startswith(start):
            return f"this is not JSON: {reason}", fix
    return f"this is not JSON: {error.msg}", "fix it there"


def _integer(digits: str) -> int:
    if len(digits) > 40:
        raise ValueError(f"a number has {len(digits)} digits")
    return int(digits)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def shown(value: Any) -> str:
    """A value as it stood in the document, cut so that a message stays readable."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _join(path: str, name: str) -> str:
    """The path of a key below another; a name that is not a plain word is quoted, and cut like a value."""
    step = name if name.isidentifier() and len(name) <= 63 else shown(name)
    return f"{path}.{step}" if path else step


def same_word(value: Any, choices: Sequence[str]) -> str | None:
    """The one of `choices` that a value is, in capitals or small letters and with blanks around it; else None."""
    word = value.strip().casefold() if isinstance(value, str) else None
    return next((choice for choice in choices if choice.casefold() == word), None)


def nearest(value: Any, choices: Sequence[str]) -> str:
    """A suggestion of the known word nearest to `value`, or an empty text."""
    if not isinstance(value, str):
        return ""
    folded = {choice.casefold(): choice for choice in choices}
    close = difflib.get_close_matches(value.casefold(), list(folded), n=1, cutoff=0.7)
    return f'did you mean "{folded[close[0]]}"?' if close else ""


def finite_number(value: Any) -> float | None:
    """A finite number given plainly or as text, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = math.nan if isinstance(value, str) and "_" in value else float(value)  # Python reads 1_5 as fifteen
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


class Findings:
    """What was found while reading: `problems` that make the document useless, and `notes` worth saying."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.notes: list[str] = []

    def problem(self, key: str, value: Any, reason: str, fix: str) -> None:
        """Note a problem; `value` is MISSING where there is nothing to show."""
        self.problems.append(Problem(key, None if value is MISSING else shown(value), reason, fix))

    def has_problem_under(self, path: str) -> bool:
        """Whether something at or below a path is already known to be wrong."""
        return any(problem.key.startswith(path) for problem in self.problems)

    def note(self, text: str) -> None:
        """Note a sentence, once."""
        if text not in self.notes:
            self.notes.append(text)

    def section(self, value: Any, path: str) -> Section | None:
        """The object at a path, for reading; None, and a problem, when it is something else."""
        if not isinstance(value, Mapping):
            self.problem(path or "(file)", value, "this must be an object", "write it between { and }")
            return None
        return Section(self, value, path)

    def report_duplicates(self, document: Any) -> None:
        """Note as a problem every key given twice in one object of a document from `load_document`."""
        pending: list[tuple[str, Any]] = [("", document)]
        while pending:
            path, value = pending.pop()
            children: list[tuple[str, Any]] = []
            if isinstance(value, Mapping):
                children = [(_join(path, name), child) for name, child in value.items()]
                for name in getattr(value, "duplicates", ()):
                    self.problem(
                        _join(path, name), MISSING, "this key is given twice in one object", "keep one of them"
                    )
            elif isinstance(value, list):
                children = [(f"{path}[{index}]", child) for index, child in enumerate(value)]
            pending += reversed(children)


class Section:
    """An object being read. Its methods return None (or the default) where a key is missing or wrong.

    Every key that is asked for counts as known; `finish` reports the others.
    """

    def __init__(self, findings: Findings, value: Mapping[str, Any], path: str) -> None:
        self.findings = findings
        self.value = value
        self.path = path
        self.known: set[str] = set()

    def key(self, name: str) -> str:
        """The full path of a key."""
        return _join(self.path, name)

    def has(self, name: str) -> bool:
        """Whether the key is given; it counts as known from now on."""
        self.known.add(name)
        return name in self.value

    def take(self, name: str, *, required: str | None = None) -> Any:
        """The raw value of a key, or MISSING, which is a problem if `required` gives its fix."""
        if self.has(name):
            return self.value[name]
        if required is not None:
            self.findings.problem(self.key(name), MISSING, "this key is required", required)
        return MISSING

    def wrong(self, name: str, reason: str, fix: str) -> None:
        """Note a problem with the value of a key."""
        self.findings.problem(self.key(name), self.value.get(name, MISSING), reason, fix)

    def text(self, name: str, *, required: str | None = None) -> str | None:
        """Text that is not blank, without the blanks around it."""
        value = self.take(name, required=required)
        if value is MISSING:
            return None
        if not isinstance(value, str) or not value.strip():
            self.wrong(name, "this must be text", "write it between double quotes")
            return None
        return value.strip()

    def truth(self, name: str) -> bool | None:
        """True or false, which may be quoted."""
        value = self.take(name)
        if value is MISSING:
            return None
        if isinstance(value, str):
            value = {"true": True, "false": False}.get(value.strip().casefold(), value)
        if not isinstance(value, bool):
            self.wrong(name, "this must be true or false", "write true or false, unquoted")
            return None
        return value

    def integer(self, name: str, *, low: int, high: int | None = None, required: str | None = None) -> int | None:
        """A whole number from `low` to `high`, which may be quoted."""
        value = self.take(name, required=required)
        if value is MISSING:
            return None
        limits = f"a number of {low} or more" if high is None else f"a number from {low} to {high}"
        number = finite_number(value)
        if number is None or number != round(number):
            self.wrong(name, "this must be a whole number", f"write {limits}")
            return None
        value = value if isinstance(value, int) else round(number)
        if value < low or (high is not None and value > high):
            self.wrong(name, "this is out of range", f"write {limits}")
            return None
        return value

    def number(self, name: str, fits: Callable[[float], bool], reason: str, fix: str) -> float | None:
        """A finite number that fits, which may be quoted; `reason` says which ones do."""
        value = self.take(name)
        if value is MISSING:
            return None
        number = finite_number(value)
        if number is None or not fits(number):
            self.wrong(name, reason, fix)
            return None
        return number

    def positive(self, name: str) -> float | None:
        """A number above zero."""
        return self.number(name, lambda number: number > 0, "this must be a number above 0", "write such a number")

    def choice(self, name: str, choices: Sequence[str], *, required: bool = False) -> str | None:
        """One of `choices`, in capitals or small letters."""
        listed = f"write one of {', '.join(choices)}"
        value = self.take(name, required=listed if required else None)
        if value is MISSING:
            return None
        found = same_word(value, choices)
        if found is None:
            self.wrong(name, "this is not one of the values it can have", nearest(value, choices) or listed)
        return found

    def section(self, name: str, *, required: str | None = None) -> Section | None:
        """The object under a key."""
        value = self.take(name, required=required)
        return None if value is MISSING else self.findings.section(value, self.key(name))

    def sections(self, name: str, *, required: str | None = None) -> list[Section]:
        """The objects in the list under a key. A lone object counts as a list of one."""
        value = self.take(name, required=required)
        if value is MISSING:
            return []
        if isinstance(value, Mapping):
            value = [value]
        if not isinstance(value, list):
            self.wrong(name, "this must be a list", "write it between [ and ]")
            return []
        read = (self.findings.section(item, f"{self.key(name)}[{index}]") for index, item in enumerate(value))
        return [section for section in read if section is not None]

    def finish(self, ignored: Mapping[str, str]) -> None:
        """Report the keys that nobody asked for: those in `ignored` (key -> why) as notes, others as problems."""
        for name, value in self.value.items():
            if name in self.known:
                continue
            if name in ignored:
                self.findings.note(f"{self.key(name)} = {shown(value)} is not used: {ignored[name]}.")
            else:
                known = ", ".join(sorted(self.known))
                fix = nearest(name, [*self.known, *ignored]) or f"remove it, or write one of {known}"
                self.wrong(name, "this key is unknown", fix)
