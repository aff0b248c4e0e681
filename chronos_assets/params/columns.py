"""Columns of a sample: what their names and values say, before anybody decides what they are for.

Here: the names that people give to timestamps, items and targets; whether values are numbers, flags, row numbers or
identifiers. Which columns make a series is decided in `keys`, how timestamps are written in `timestamp_columns`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from itertools import pairwise
from typing import Any

from chronos_assets.errors import ChronosAssetsError

# What files write where a value is missing, in lower case. As an identifier each of them is a text like any other.
MISSING_WORDS = frozenset({"", "na", "n/a", "nan", "null", "none", "\\n"})
# The same where numbers are expected: marks of databases, offices of statistics, SAS and Stata, spreadsheets (in several
# languages) and C's way to write no number. Errors of broken formulas are none of them.
MISSING_MARKERS = MISSING_WORDS | {
    *("?", "-", "--", "---", "\u2013", "\u2014", ".", "..", "...", "\u2026", ":", "n.a.", "n.a", "n.d.", "k.a.", "nil"),
    *("<na>", "<null>", "(null)", "[null]", "(blank)", "nat", "#n/a", "#n/a n/a", "#na", "#nv", "#n/d", "#null!"),
    *("#div/0!", "#num!", "-nan", "+nan", "nan(ind)", "-nan(ind)", "1.#ind", "-1.#ind", "1.#qnan", "-1.#qnan"),
}

# Known names, best first; compared without regard to case and to anything but letters and digits.
TIMESTAMP_NAMES: tuple[str, ...] = (
    "timestamp",
    "datetime",
    "date",
    "ds",
    "time",
    "ts",
    "dt",
    "period",
    "day",
    "week",
    "month",
    "year",
)
TIMESTAMP_NAMES += ("datum", "zeitstempel", "zeit", "monat", "jahr", "fecha", "mes", "mois", "periode")
ITEM_NAMES: tuple[str, ...] = (
    *("itemid", "instancetype", "workforcetype", "metricname", "uniqueid", "seriesid", "item", "series", "id"),
    *("sku", "product", "name", "key"),
)
_CLEAR_ITEMS = frozenset(ITEM_NAMES) - {"id", "name", "key"}
TARGET_NAMES: tuple[str, ...] = (
    *("targetvalue", "demand", "numberofinstances", "workforcedemand", "metricvalue", "value", "target", "y"),
    *("sales", "quantity", "qty", "units", "count", "load", "consumption", "usage", "volume", "amount"),
)
# Words that make another quantity of one whose name ends as a target's: discount_amount, on_hand_qty, forecast_demand.
_WORDS_BESIDE = (
    "discount refund refunded return returns returned cancelled canceled "
    "lost waste wasted scrap backorder backordered safety stock inventory onhand reorder available competitor "
    "forecast forecasted fcst predicted prediction expected planned plan budget budgeted target goal quota "
    "previous prev prior last ly py lag lagged baseline"
)
_BESIDE = frozenset(_WORDS_BESIDE.split())
# Words that make another amount of money of one (shipping_amount), and none of a quantity: shipping_volume, low_cost_units.
_CHARGES = frozenset({"tax", "vat", "cost", "shipping", "freight", "fee", "tip"})
_QUANTITIES = frozenset({"volume", "units", "quantity", "qty", "count", "load", "demand"})
# Not a part of a longer word: fashion_handbag_sales.
_ON_HAND = re.compile(r"((?<![A-Za-z])(?i:on)|On)[^A-Za-z]?(?i:hand)")
# Columns that are as likely a target as one of a known name beside them: a target is a goal beside what was reached.
_RIVALS = frozenset({"actual", "actuals", "actualvalue", "ist", "istwert", "close", "adjclose", "closeprice"})
# Last words of the names of columns whose numbers stand for something, and are no quantity.
_IDENTIFYING = frozenset(
    {
        *("id", "ids", "code", "sku", "upc", "ean", "gtin", "asin", "no"),
        *("nr", "nbr", "num", "number", "store", "shop", "dept", "department", "item"),
        *("product", "article", "family", "category", "cat", "class", "brand", "region", "site"),
        *("location", "loc", "warehouse", "plant", "branch", "customer", "client", "user", "account"),
        *("material", "artikel", "filiale", "werk", "lager", "kunde", "matnr"),
        *("meter", "sensor", "device", "station", "machine", "channel", "route", "zone", "zip", "node"),
        *("postcode", "key", "series"),
    }
)
# Words of the names of columns that say something of their row, and name no series.
_STATUS = frozenset({"status"})
_REMARKS = _STATUS | frozenset(
    {
        *("version", "revision", "rev", "comment", "comments", "note", "notes", "remark", "remarks"),
        *("created", "updated", "modified", "changed", "loaded", "exported", "extracted", "extract"),
        *("imported", "inserted", "ingested", "snapshot", "asof", "filename", "bemerkung", "kommentar"),
    }
)
# Words that say how a row came to be, unless they speak of trade: an import_date is a remark, an import_country is none.
_TRADE = frozenset({"import", "export"})
_TRADED = frozenset(
    {
        *("country", "market", "region", "state", "city", "port", "territory", "destination", "origin", "partner"),
        *("product", "item", "article", "material", "commodity", "good", "goods", "category", "sector"),
    }
)
_COUNTING = frozenset({"id", "index", "idx", "row", "rownum", "no", "nr", "nbr", "num", "number", "obs"})
_FLAG_NAMES = re.compile(
    r"^(is|has|on|was)([_A-Z]|promotion|holiday|weekend|sale)|(^|_)(flag|holiday|promo)$", re.IGNORECASE
)
_FLAG_WORDS = ({"true", "false"}, {"t", "f"}, {"yes", "no"}, {"y", "n"}, {"on", "off"}, {"0", "1"}, {"0.0", "1.0"})

# Words of the names of quantities that have a height at each time: of several their mean counts, and their sum is nothing.
_HEIGHTS = frozenset(
    {
        *(
            "temperature",
            "temp",
            "temperatur",
            "humidity",
            "pressure",
            "price",
            "prices",
            "preis",
            "rate",
            "ratio",
            "percent",
        ),
        *(
            "pct",
            "percentage",
            "share",
            "speed",
            "velocity",
            "voltage",
            "volt",
            "volts",
            "hz",
            "level",
            "power",
            "kw",
            "mw",
        ),
        *("gw", "watt", "watts", "amps", "ampere", "utilization", "utilisation", "average", "avg", "mean", "median"),
        *(
            "concentration",
            "ppm",
            "density",
            "brightness",
            "leistung",
            "celsius",
            "fahrenheit",
            "degc",
            "rating",
            "score",
        ),
    }
)
# Words of the names of amounts, which add up whatever stands beside them: power_kwh, price_count.
_AMOUNTS = frozenset(
    {
        *("kwh", "mwh", "wh", "gwh", "count", "units", "quantity", "qty", "sales", "volume", "total", "sum", "revenue"),
        *("orders", "demand", "energy", "amount", "consumption"),
    }
)

# Names that rows with the sum of others have.
TOTALS = re.compile(
    r"((grand|sub|sous)[- ]?)?total(s|e|en)?( general| général)?|.* totals?|sum|all|overall|summe|insgesamt|gesamt|"
    r"(gesamt|zwischen|teil)(ergebnis|summe)|.* ergebnis|somme|suma|ensemble",
    re.IGNORECASE,
)

# Up to this share of a column's values may be unreadable without changing what the column is: bad rows happen.
FEW_BAD = 0.05


# The role of an error that no params.json settles: the file has to be written otherwise.
REWRITE = "rewrite"


class InferenceError(ChronosAssetsError, ValueError):
    """The sample does not say what params.json would; the message says what to write there.

    `candidates` are what one must be chosen of for `role` ("item", "target", "timestamp", "format", "frequency"), if that
    was the trouble; `infer` takes it under the role's name. `options` says what each would mean. `draft` is then a
    parameter file (a JSON value) for the user to complete.
    """

    def __init__(
        self,
        message: str,
        *,
        role: str | None = None,
        candidates: Sequence[str] = (),
        options: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.role = role
        self.candidates = tuple(candidates)
        self.options = dict(options or {})
        self.draft: dict[str, Any] | None = None


@dataclass(frozen=True, eq=False)
class Column:
    """A column of the sample. `texts` are its cells, stripped; `values` have None where a value is missing.

    `header` is its name in the file, `name` that in a schema.
    """

    index: int
    name: str
    header: str
    texts: tuple[str, ...]

    @cached_property
    def values(self) -> tuple[str | None, ...]:
        """The cells, with None where a value is missing."""
        return tuple(None if text.casefold() in MISSING_MARKERS else text for text in self.texts)

    @cached_property
    def present(self) -> list[str]:
        """The values that are not missing."""
        return [value for value in self.values if value is not None]

    @cached_property
    def distinct(self) -> frozenset[str]:
        """The different texts that are not empty."""
        return frozenset(self.texts) - {""}

    @property
    def is_empty(self) -> bool:
        """Whether all values are missing."""
        return not self.present

    @cached_property
    def is_numeric(self) -> bool:
        """Whether the column holds numbers, a few bad values aside."""
        numbers = sum(map(is_number, self.present))
        return numbers > 0 and numbers >= (1 - FEW_BAD) * len(self.present)

    @cached_property
    def has_commas(self) -> bool:
        """Whether the column holds numbers that are written with commas: 3,09 or 1.234,50 or 1,234."""
        if self.is_numeric or not any("," in value for value in self.present):
            return False
        return sum(map(_is_number_with_commas, self.present)) >= (1 - FEW_BAD) * len(self.present)

    @cached_property
    def is_whole(self) -> bool:
        """Whether the column holds whole numbers from 0 on, as identifiers are."""
        return self.is_numeric and all(re.fullmatch(r"\d{1,18}(\.0+)?", value) for value in self.present)

    @cached_property
    def is_flag(self) -> bool:
        """Whether the column says yes or no: two words for it, or a name such as IsHoliday and two values."""
        words = {value.casefold() for value in self.present}
        if words and len(words) <= 2 and _FLAG_NAMES.search(self.header):
            return True
        return bool(words) and not self.has_key_name and any(words <= pair for pair in _FLAG_WORDS)

    @property
    def has_key_name(self) -> bool:
        """Whether the name is that of an item or of something that has several: items may be called 0 and 1."""
        return _plain(self.header) in ITEM_NAMES or is_identifying(last_word(self.header))

    @cached_property
    def is_row_number(self) -> bool:
        """Whether the column counts the rows: a whole number that grows by one from each row to the next."""
        if not self.is_whole or len(self.present) < max(3, len(self.texts)):
            return False
        numbers = [int(float(value)) for value in self.present]
        steps = sum(after - before == 1 for before, after in pairwise(numbers))
        return steps >= (1 - FEW_BAD) * (len(numbers) - 1) and len(set(numbers)) == len(numbers)

    @property
    def is_index(self) -> bool:
        """Whether the column counts the rows, and its name says so: a value may grow by one, too."""
        named = self.header.casefold().startswith(("unnamed", "index", "level_0", "__index"))
        return self.is_row_number and (named or last_word(self.header) in _COUNTING)

    @cached_property
    def is_identifying(self) -> bool:
        """Whether the numbers of the column stand for something, by its name: Store, dept_id, store_nbr."""
        return self.is_whole and not self.is_flag and is_identifying(last_word(self.header))

    @cached_property
    def is_complete(self) -> bool:
        """Whether (nearly) every row has a text: a part of a series' key is never empty."""
        return self.texts.count("") <= FEW_BAD * len(self.texts)


@dataclass(frozen=True, eq=False)
class Times:
    """A column read as timestamps by one pattern."""

    column: Column
    pattern: str
    moments: tuple[datetime | None, ...]


_DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+")
_MAY_BE_THOUSANDS = re.compile(r"[+-]?[1-9]\d{0,2},\d{3}")


def is_number(text: str) -> bool:
    """Whether a text is a finite number with a decimal point."""
    try:
        return math.isfinite(float(text)) and "_" not in text
    except ValueError:
        return False


def _is_number_with_commas(text: str) -> bool:
    return re.fullmatch(r"[+-]?\d+(\.\d{3})*(,\d+)*(\.\d+)?", text) is not None


def decimal_commas(columns: Sequence[Column]) -> list[Column]:
    """The columns in whose numbers a comma separates decimals; none if any comma may separate thousands.

    1,234 may be either, so that each column needs numbers with more or fewer digits behind the comma, or 0 before it: more than
    may be typing errors. Where other numbers have a point, one of the two separates thousands.
    """
    commas = [column for column in columns if column.has_commas]
    if any("." in value for column in columns if column.is_numeric or column.has_commas for value in column.present):
        return []
    for column in commas:
        numbers = [value for value in column.present if "," in value and _is_number_with_commas(value)]
        clear = sum(_MAY_BE_THOUSANDS.fullmatch(number) is None for number in numbers)
        if not all(map(_DECIMAL_COMMA.fullmatch, numbers)) or clear <= FEW_BAD * len(numbers):
            return []
    return commas


def with_points(columns: Sequence[Column]) -> list[Column]:
    """The same columns, with a point in each number that has a single comma."""
    return [
        replace(column, texts=tuple(_with_point(text) for text in column.texts)) if column.has_commas else column
        for column in columns
    ]


def _with_point(text: str) -> str:
    return text.replace(",", ".") if _DECIMAL_COMMA.fullmatch(text) else text


def listed(columns: Iterable[Column]) -> str:
    """The names of columns, for people; a header that a schema can't hold stands beside its name there."""
    return ", ".join(
        column.name if column.header.isascii() else f"{column.header} ({column.name})" for column in columns
    )


def last_word(name: str) -> str:
    """The last word of a name in lower case: "Order_Quantity" -> "quantity", "storeNbr" -> "nbr"."""
    words = [word for word in re.split(r"[^A-Za-z0-9]+|(?<=[a-z])(?=[A-Z])", name) if word]
    return _plain(words[-1]) if words else ""


def is_remark(name: str) -> bool:
    """Whether a column is named as a remark on its row: a status, a version, the date of an export."""
    return has_word(name, _REMARKS) or (has_word(name, _TRADE) and last_word(name) not in _TRADED)


def is_status(name: str) -> bool:
    """Whether a remark may be one on what is counted (open and closed tickets) and not only on its row (a version)."""
    return has_word(name, _STATUS)


def is_height(name: str) -> bool:
    """Whether a quantity is named as one whose values are averaged, never added up: a temperature, a price, a power."""
    return has_word(name, _HEIGHTS) and not has_word(name, _AMOUNTS)


def is_beside(name: str) -> bool:
    """Whether a name ends as a target's, and is that of another quantity: discount_amount, on_hand_qty."""
    words = _BESIDE if last_word(name) in _QUANTITIES else _BESIDE | _CHARGES
    return rank(name, TARGET_NAMES) == len(TARGET_NAMES) and (has_word(name, words) or bool(_ON_HAND.search(name)))


def is_rival(name: str) -> bool:
    """Whether a name is that of what came to be, or of a price at the end of a day, which known targets stand beside."""
    return _plain(name) in _RIVALS


def has_word(name: str, words: frozenset[str]) -> bool:
    """Whether a name, or a word of it, is one of these: "orderStatus" has "status"."""
    parts = re.split(r"[^A-Za-z]+|(?<=[a-z])(?=[A-Z])", name)
    return any(part.casefold() in words for part in (name, *parts))


def is_identifying(word: str) -> bool:
    """Whether a name's last word says that its numbers stand for something; German ones are written in one: Artikelnr."""
    return word in _IDENTIFYING or word.endswith(("nr", "nummer"))


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def rank(name: str, known: Sequence[str]) -> float:
    """How well a name is known: 0 is best, and a name whose last word is known ("Order_Quantity") comes last."""
    plain = _plain(name)
    if plain in known:
        return known.index(plain)
    return len(known) if last_word(name) in known else math.inf


def item_of(names: Iterable[str]) -> str | None:
    """The only column whose name is an item's and can hardly be another's, as `name` and `id` can; None where there is none."""
    found = [name for name in names if _plain(name) in _CLEAR_ITEMS]
    return found[0] if len(found) == 1 else None


def best_known(columns: Sequence[Column], known: Sequence[str]) -> list[Column]:
    """The columns with the best known name; none when no name is known."""
    ranks = [rank(column.name, known) for column in columns]
    best = min(ranks, default=math.inf)
    return [] if best == math.inf else [column for column, each in zip(columns, ranks, strict=True) if each == best]
