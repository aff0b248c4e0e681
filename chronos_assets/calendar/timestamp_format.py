"""`TimestampFormat` of params.json: its letters, and how to read and write timestamps by them.

The letters are those of Joda-Time and SimpleDateFormat, which the service used:

======== ============================================== ========================================
letters  meaning                                        notes
======== ============================================== ========================================
y        year                                           `yyyy` in full, `yy` two digits (69-99 are 19xx)
M        month                                          `M`, `MM` number; `MMM` Jan; `MMMM` January, see below
QQQ      quarter of the calendar year                   Q1
Y, w, e  year, number and day of an ISO 8601 week       `YYYY-'W'ww` 2024-W03, `YYYY-'W'ww-e` 2024-W03-1 (Monday)
d, D     day of month, day of year
E        day of week                                    `E`-`EEE` Thu, `EEEE` Thursday
H        hour 0-23
h        hour 1-12 when the pattern has `a`, else 0-23  the service's own sample writes `hh` for 24 hours
m, s     minute, second
S        fraction of a second                           1 to 6 digits
a        AM or PM
X, Z     offset from UTC                                +01:00, +0100 or +01; read as `Z` too
' '      literal text, `''` an apostrophe               a bare `T` between date and time is literal too
======== ============================================== ========================================

Names of months are read in the languages of `month_names`, and written in English. `epoch seconds` and `epoch milliseconds`,
instead of letters, count from 1970 in UTC.

Reading and writing text is all that belongs here; which period a timestamp falls in is in `frequencies`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from chronos_assets.calendar.frequencies import Frequency
from chronos_assets.calendar.month_names import ENGLISH, NUMBER_OF_MONTH
from chronos_assets.errors import ChronosAssetsError

DEFAULT_FORMAT = "yyyy-MM-dd HH:mm:ss"
# Patterns without letters: how many of what is counted make a second.
EPOCHS = {"epoch seconds": 1, "epoch milliseconds": 1000}
_EPOCH = "epoch"  # the letter of their only token

# Letters whose directive does not depend on how often they are repeated, and the longest run of every letter.
_DIRECTIVES = {
    "Y": "%G",
    "w": "%V",
    "e": "%u",
    "Q": "%m",
    "d": "%d",
    "D": "%j",
    "H": "%H",
    "m": "%M",
    "s": "%S",
    "S": "%f",
    "a": "%p",
    "X": "%z",
    "Z": "%z",
}
_LONGEST = {
    "y": 4,
    "Y": 4,
    "w": 2,
    "e": 1,
    "Q": 3,
    "M": 4,
    "d": 2,
    "D": 3,
    "E": 4,
    "H": 2,
    "h": 2,
    "m": 2,
    "s": 2,
    "S": 6,
    "a": 2,
    "X": 3,
    "Z": 3,
}
_ONLY = frozenset("YQ")  # letters that are written in one length only

_EPOCH_START = datetime(1970, 1, 1, tzinfo=UTC)
# What `datetime.fromisoformat` reads as strptime does, and twenty times as fast.
_ISO = {
    "yyyy-MM-dd": re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}"),
    "yyyy-MM-dd HH:mm:ss": re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}"),
}
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

# From the coarsest letter to the finest: the last one present says how fine a pattern can tell times apart.
_RESOLUTION = (
    ("y", "Y"),
    ("Q", "3M"),
    ("M", "M"),
    ("Y", "W"),
    ("dDe", "D"),
    ("Hh", "H"),
    ("ms", "min"),
)
_NAME = "[A-Za-zÀ-ž]+"
# What a text may have in the place of a letter, before a part that is read by a table.
_ANY_TEXT = {"E": _NAME, "a": "[AaPp][Mm]"}
_MONTH_OF_QUARTER = {f"q{quarter}": f"{3 * quarter - 2:02d}" for quarter in range(1, 5)}


class TimestampFormatError(ChronosAssetsError, ValueError):
    """A pattern that can't be used; the message says which part and what to write."""


@dataclass(frozen=True)
class Token:
    """A run of one letter (`letter` "y", `text` "yyyy"), or literal text (`letter` empty)."""

    letter: str
    text: str


@lru_cache(maxsize=512)
def parse_pattern(pattern: str) -> tuple[Token, ...]:
    """The tokens of a pattern, in order.

    Raises:
        TimestampFormatError: for letters without a meaning, a quote that is not closed, a part given twice, or a
            pattern that can't tell a date (no year, or a day without its month).
    """
    if pattern in EPOCHS:
        return (Token(_EPOCH, pattern),)
    tokens: list[Token] = []
    position = 0
    while position < len(pattern):
        character = pattern[position]
        if character == "'":
            text, position = _quoted(pattern, position)
        elif character.isascii() and character.isalpha():
            run = re.match(f"{character}+", pattern[position:])
            assert run is not None  # noqa: S101 - the character itself matches
            text = run[0]
            position += len(text)
            if not _is_separator(character, text, tokens, pattern[position:]):
                tokens.append(_letter_token(character, text, pattern))
                continue
        else:
            text, position = character, position + 1
        if tokens and not tokens[-1].letter:
            text = tokens.pop().text + text
        tokens.append(Token("", text))
    _check(tokens, pattern)
    return tuple(tokens)


def _quoted(pattern: str, start: int) -> tuple[str, int]:
    """The literal that opens at the quote at `start`, and the position after it."""
    if pattern[start : start + 2] == "''":
        return "'", start + 2
    text, position = "", start + 1
    while position < len(pattern):
        if pattern[position] != "'":
            text, position = text + pattern[position], position + 1
        elif pattern[position : position + 2] == "''":
            text, position = text + "'", position + 2
        else:
            return text, position + 1
    raise TimestampFormatError(
        f"the quote at position {start + 1} of {pattern!r} is not closed; write 'T' for a literal T"
    )


def _is_separator(letter: str, text: str, before: list[Token], after: str) -> bool:
    """Whether this is the bare T of ISO 8601, which people write without the quotes that it needs."""
    return letter == "T" and text == "T" and bool(before) and bool(after)


def _letter_token(letter: str, text: str, pattern: str) -> Token:
    if letter not in _LONGEST:
        raise TimestampFormatError(
            f"{text!r} in {pattern!r} has no meaning; use y M d H m s S a E D X QQQ or YYYY ww e (small and capital letters "
            f"differ), and put literal letters between quotes, as in yyyy-MM-dd'T'HH:mm:ss"
        )
    if len(text) > _LONGEST[letter]:
        hint = "; timestamps are kept to the microsecond" if letter == "S" else ""
        raise TimestampFormatError(f"{text!r} in {pattern!r} is too long: at most {letter * _LONGEST[letter]!r}{hint}")
    if re.search("%[A-Za-z]", pattern):
        raise TimestampFormatError(
            f"{pattern!r} has the letters of strptime; write yyyy-MM-dd HH:mm:ss for %Y-%m-%d %H:%M:%S"
        )
    if letter in _ONLY and len(text) < _LONGEST[letter]:
        raise TimestampFormatError(f"{text!r} in {pattern!r} has no meaning; write {letter * _LONGEST[letter]!r}")
    if letter == "y" and len(text) == 3:
        raise TimestampFormatError(f"'yyy' in {pattern!r} is ambiguous; write 'yyyy' or 'yy'")
    return Token(letter, text)


def _check(tokens: list[Token], pattern: str) -> None:
    """Refuse patterns that name a part twice, or that don't make a point in time."""
    letters = [{"h": "H", "Z": "X"}.get(token.letter, token.letter) for token in tokens if token.letter]
    for letter in sorted(set(letters)):
        if letters.count(letter) > 1:
            raise TimestampFormatError(
                f"{pattern!r} gives {_PART[letter]} twice (MM is the month, mm the minute; HH and hh the hour)"
            )
    present = set(letters)
    if "Y" in present or present & {"w", "e"}:
        if not {"Y", "w"} <= present <= {"Y", "w", "e"}:
            raise TimestampFormatError(
                f"{pattern!r} has letters of weeks (Y w e) beside others; write yyyy-MM-dd for dates, and YYYY-'W'ww for weeks"
            )
    elif "y" not in present:
        raise TimestampFormatError(f"{pattern!r} has no year; write yyyy")
    chain = ("M", "d", "H", "m", "s", "S")
    have = {"M": "M" in present or "D" in present, "d": "d" in present or "D" in present}
    have.update({letter: letter in present for letter in chain[2:]})
    for coarser, finer in pairwise(chain):
        if have[finer] and not have[coarser]:
            raise TimestampFormatError(f"{pattern!r} has {_PART[finer]} but not {_PART[coarser]}")
    if "Q" in present and present != {"y", "Q"}:
        raise TimestampFormatError(f"{pattern!r} has {_PART['Q']} beside parts of it; keep one of them")
    if "D" in present and present & {"M", "d"}:
        raise TimestampFormatError(f"{pattern!r} gives the day of the year (D) beside month or day; keep one of them")
    if "a" in present and not any(token.letter == "h" for token in tokens):
        raise TimestampFormatError(f"{pattern!r} has AM/PM (a) without a 12-hour hour; write hh")
    if "E" in present and not have["d"]:
        raise TimestampFormatError(f"{pattern!r} has {_PART['E']} but not {_PART['d']}")
    if "X" in present and tokens[-1].letter not in {"X", "Z"}:
        raise TimestampFormatError(f"{pattern!r} has its offset (X) before other parts; it must come last")
    for left, right in pairwise(tokens):
        if len(left.text) == 1 and _is_digits(left) and _is_digits(right):
            raise TimestampFormatError(
                f"{left.text + right.text!r} in {pattern!r} runs together; write {left.text * 2!r}"
            )


def _is_digits(token: Token) -> bool:
    """Whether the token stands for digits, so that its end is not seen when others follow."""
    return token.letter in set("yYwedDHhmsS") or (token.letter == "M" and len(token.text) <= 2)


_PART = {
    "y": "the year (y)",
    "M": "the month (M)",
    "Q": "the quarter (Q)",
    "Y": "the year of the week (Y)",
    "w": "the week (w)",
    "e": "the day of the week (e)",
    "d": "the day (d)",
    "D": "the day of the year (D)",
    "E": "the day of the week (E)",
    "H": "the hour (H)",
    "m": "the minute (m)",
    "s": "the second (s)",
    "S": "the fraction (S)",
    "a": "AM/PM (a)",
    "X": "the offset (X)",
}


@lru_cache(maxsize=512)
def to_strptime(pattern: str) -> str:
    """The strptime format of a pattern, in directives that DuckDB and Python share.

    DuckDB's `%z` does not know the letter Z for UTC, see `sql_parse`.
    """
    tokens = parse_pattern(pattern)
    directives = "".join(_directive(token, tokens) for token in tokens)
    letters = {token.letter for token in tokens}
    # A week is read by its Monday, which the text gets behind it.
    return f"{directives}-%u" if "w" in letters and "e" not in letters else directives


def _directive(token: Token, tokens: tuple[Token, ...]) -> str:
    letter, length = token.letter, len(token.text)
    if not letter:
        return token.text.replace("%", "%%")
    if letter == "y":
        return "%y" if length == 2 else "%Y"
    if letter == "M":
        return "%m" if length <= 2 else "%b" if length == 3 else "%B"
    if letter == "E":
        return "%a" if length <= 3 else "%A"
    if letter == "h":
        return "%I" if _twelve_hours(tokens) else "%H"
    return _DIRECTIVES[letter]


def _twelve_hours(tokens: tuple[Token, ...]) -> bool:
    return any(token.letter == "a" for token in tokens)


@lru_cache(maxsize=512)
def has_offset(pattern: str) -> bool:
    """Whether timestamps of this pattern are moments of UTC, by the offset they carry or because they count from 1970."""
    return any(token.letter in {"X", "Z", _EPOCH} for token in parse_pattern(pattern))


def resolution(pattern: str) -> Frequency:
    """The finest periods that the pattern tells apart: days for "yyyy-MM-dd", minutes once it has minutes or seconds."""
    letters = {token.letter for token in parse_pattern(pattern)} - {_EPOCH}
    return Frequency.parse([name for group, name in _RESOLUTION if letters & set(group)][-1] if letters else "min")


def sql_parse(expression: str, pattern: str, time_zone: str | None = None) -> str:
    """DuckDB SQL that reads a VARCHAR expression as a naive TIMESTAMP, NULL where it does not match the pattern.

    The project's one rule for time zones: a timestamp with an offset becomes the clock time of `time_zone` (UTC when
    None); one without an offset is taken as it stands. `expression` is SQL of the caller's own making.
    """
    zone = _sql_text(time_zone or "UTC")
    if pattern in EPOCHS:
        count = f"TRY_CAST(nullif(regexp_extract({expression}, {_sql_text(_count(pattern))}, 1), '') AS BIGINT)"
        return f"timezone({zone}, timezone('UTC', make_timestamp({count} * {1_000_000 // EPOCHS[pattern]})))"
    tokens = parse_pattern(pattern)
    letters = {token.letter for token in tokens}
    if "S" in letters:
        expression = sql_microseconds(expression)
    if has_offset(pattern):
        # A final Z is UTC by ISO 8601, but DuckDB's %z reads digits only.
        expression = f"regexp_replace({expression}, '[zZ]\\s*$', '+00:00')"
    form = to_strptime(pattern)
    if "w" in letters:  # as Python has it, w03 is W03; the directives of weeks are %G, %V and %u
        expression, form = f"upper({expression})", form.upper().replace("%U", "%u")
    if "w" in letters and "e" not in letters:
        expression = f"concat(trim({expression}), '-1')"
    moment = f"try_strptime({expression}, {_sql_text(form)})"
    if table := _table(tokens):
        place, texts = table
        parts = [f"regexp_extract({expression}, {_sql_text(place)}, {group})" for group in (1, 2, 3)]
        text = f"map({list(texts)}, {list(texts.values())})[lower({parts[1]})]"
        listed = f"try_strptime({parts[0]} || {text} || {parts[2]}, {_sql_text(form)})"
        moment = listed if "Q" in letters else f"coalesce({moment}, {listed})"
    if "w" in letters:  # the 53rd of a year that has 52 is read as the next year's first
        moment = f"CASE WHEN contains({expression}, strftime({moment}, '%G')) THEN {moment} END"
    return f"timezone({zone}, {moment})" if has_offset(pattern) else moment


def _count(pattern: str) -> str:
    """The regular expression of a count since 1970, of 1653 to 2286; a float's 0 behind the point is none of it."""
    return rf"^\s*(-?\d{{1,{9 + len(str(EPOCHS[pattern]))}}})(?:\.0*)?\s*$"


@lru_cache(maxsize=512)
def _table(tokens: tuple[Token, ...]) -> tuple[str, dict[str, str]] | None:
    """Where a text has the name of a month or of a quarter, and what strptime reads instead of each, in lower case.

    The place is a regular expression of three groups, of which the second is the name. None where there is none.
    """
    named = [place for place, token in enumerate(tokens) if token.letter == "Q" or _is_name_of_month(token)]
    if not named:
        return None
    place = named[0]
    before = (
        _ANY_TEXT.get(token.letter, r"\d+") if token.letter else re.escape(token.text) for token in tokens[:place]
    )
    token, after = tokens[place], tokens[place + 1 :]
    if token.letter == "Q":
        name, texts = "[qQ][1-4]", _MONTH_OF_QUARTER
    else:
        width = 3 if len(token.text) == 3 else None
        name, texts = _NAME, {name: ENGLISH[number - 1][:width] for name, number in NUMBER_OF_MONTH.items()}
    # The full stop of janv. is no part of the name, unless one is written behind the month in any case.
    stop = "" if after and after[0].text.startswith(".") else r"\.?"
    return rf"^(\s*{''.join(before)})({name}){stop}(.*)$", texts


def _is_name_of_month(token: Token) -> bool:
    return token.letter == "M" and len(token.text) > 2


def sql_microseconds(expression: str) -> str:
    """SQL for a VARCHAR expression without the digits of a fraction beyond microseconds, which nothing here keeps."""
    return f"regexp_replace({expression}, '(\\.\\d{{6}})\\d+', '\\1')"


def _sql_text(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def parse_timestamp(text: str, pattern: str, time_zone: str | None = None) -> datetime | None:
    """One timestamp as a naive datetime by the rule of `sql_parse`; None when the text does not match."""
    text = text.strip()
    if _is_iso(text, pattern):
        return _from_iso(text)
    if "." in text:
        text = re.sub(r"(\.\d{6})\d+", r"\1", text)
    if pattern in EPOCHS:
        count = re.fullmatch(_count(pattern), text)
        moment = None if count is None else _EPOCH_START + int(count[1]) * timedelta(seconds=1) / EPOCHS[pattern]
        return None if moment is None else moment.astimezone(_zone(time_zone)).replace(tzinfo=None)
    if has_offset(pattern):
        # Python's %z reads Z, +01:00 and +0100, but neither z nor hours alone.
        text = re.sub(r"([+-]\d\d)$", r"\1:00", re.sub("z$", "Z", text))
    tokens = parse_pattern(pattern)
    letters = {token.letter for token in tokens}
    if "w" in letters and "e" not in letters:
        text += "-1"
    value = _strptime(text, pattern)
    if value is None and (table := _table(tokens)):
        place, texts = table
        found = re.match(place, text)
        name = texts.get(found[2].lower()) if found else None
        value = _strptime(f"{found[1]}{name}{found[3]}", pattern) if found and name else None
    if value is None or ("w" in letters and str(value.isocalendar().year) not in text):
        return None
    try:
        return value if value.tzinfo is None else value.astimezone(_zone(time_zone)).replace(tzinfo=None)
    except OverflowError:
        return None


def _strptime(text: str, pattern: str) -> datetime | None:
    try:
        return datetime.strptime(text, to_strptime(pattern))
    except ValueError:
        return None


def is_iso_timestamp(text: str, pattern: str) -> bool:
    """Whether a text is a timestamp as ISO writes it and the pattern says; where it isn't, it may be one all the same."""
    return _is_iso(text, pattern) and _from_iso(text) is not None


def _is_iso(text: str, pattern: str) -> bool:
    return (form := _ISO.get(pattern)) is not None and form.fullmatch(text) is not None


def _from_iso(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def read_offset(text: str) -> timedelta | None:
    """The offset from UTC at the end of a timestamp; None where there is none."""
    match = re.search(r"(?:([zZ])|([+-])(\d\d):?(\d\d)?)\s*$", text)
    if match is None:
        return None
    if match[1]:
        return timedelta(0)
    offset = timedelta(hours=int(match[3]), minutes=int(match[4] or 0))
    return -offset if match[2] == "-" else offset


def format_timestamps(
    timestamps: NDArray[np.datetime64], pattern: str, time_zone: str | None = None, *, in_utc: bool = False
) -> list[str]:
    """Timestamps as text in the pattern, the inverse of `sql_parse`.

    Each distinct timestamp is formatted once, so a forecast's long column of few times costs little. Offsets are those
    of `time_zone` (UTC when None) at that clock time. in_utc: timestamps are in UTC, and written on the clock of
    `time_zone`: an hour that this clock shows twice has its two offsets.

    Raises:
        ValueError: for NaT.
    """
    array = np.asarray(timestamps).astype("datetime64[us]").ravel()
    if np.isnat(array).any():
        raise ValueError("a timestamp is missing (NaT) and has no text")
    tokens = parse_pattern(pattern)
    zone = _zone(time_zone)
    distinct, inverse = np.unique(array, return_inverse=True)
    moments = distinct.astype(datetime).tolist()
    if in_utc:
        moments = [moment.replace(tzinfo=UTC).astimezone(zone) for moment in moments]
    texts = ["".join(_format(token, moment, tokens, zone) for token in tokens) for moment in moments]
    return [texts[index] for index in inverse.tolist()]


def _zone(time_zone: str | None) -> tzinfo:
    return UTC if time_zone is None else ZoneInfo(time_zone)


def _format(token: Token, moment: datetime, tokens: tuple[Token, ...], zone: tzinfo) -> str:
    letter, length = token.letter, len(token.text)
    match letter:
        case "":
            return token.text
        case "y":
            return f"{moment.year % 100:02d}" if length == 2 else f"{moment.year:04d}"
        case "M":
            return (
                f"{moment.month:0{length}d}" if length <= 2 else ENGLISH[moment.month - 1][: 3 if length == 3 else None]
            )
        case "Y":
            return f"{moment.isocalendar().year:04d}"
        case "w":
            return f"{moment.isocalendar().week:0{length}d}"
        case "e":
            return f"{moment.isoweekday()}"
        case "Q":
            return f"Q{(moment.month + 2) // 3}"
        case "epoch":
            aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)
            return f"{(aware - _EPOCH_START) * EPOCHS[token.text] // timedelta(seconds=1)}"
        case "d":
            return f"{moment.day:0{length}d}"
        case "D":
            return f"{moment.timetuple().tm_yday:0{length}d}"
        case "E":
            return _DAYS[moment.weekday()][: 3 if length <= 3 else None]
        case "H":
            return f"{moment.hour:0{length}d}"
        case "h":
            hour = (moment.hour - 1) % 12 + 1 if _twelve_hours(tokens) else moment.hour
            return f"{hour:0{length}d}"
        case "m":
            return f"{moment.minute:0{length}d}"
        case "s":
            return f"{moment.second:0{length}d}"
        case "S":
            return f"{moment.microsecond:06d}"[:length]
        case "a":
            return "AM" if moment.hour < 12 else "PM"
        case _:
            return _offset(moment, token, zone)


def _offset(moment: datetime, token: Token, zone: tzinfo) -> str:
    """The offset as Joda writes it: X "+01", XX and Z "+0100", XXX "+01:00"; zero is "Z" for X, "+0000" for Z."""
    offset = (moment if moment.tzinfo is not None else moment.replace(tzinfo=zone)).utcoffset() or timedelta(0)
    if not offset and token.letter == "X":
        return "Z"
    minutes = round(offset.total_seconds() / 60)
    sign, (hours, rest) = "-" if minutes < 0 else "+", divmod(abs(minutes), 60)
    if token.letter == "X" and len(token.text) == 1:
        return f"{sign}{hours:02d}" + (f"{rest:02d}" if rest else "")
    separator = ":" if token.text in {"XXX", "ZZ", "ZZZ"} else ""
    return f"{sign}{hours:02d}{separator}{rest:02d}"
