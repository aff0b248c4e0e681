"""Columns whose texts are parts of the time: names of months and weekdays, quarters, hours. They name no series.

Here: telling them by what they hold, and by their names where that could be anything. Parts that are numbers, and can be
joined to a timestamp, are found in `spread_timestamps`.
"""

from __future__ import annotations

import re

from chronos_assets.params.columns import Column, has_word, last_word
from chronos_assets.params.spread_timestamps import PARTS

_MONTHS = frozenset(
    {
        *("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "sept", "oct", "nov", "dec"),
        *("january", "february", "march", "april", "june", "july", "august", "september", "october", "november"),
        *("december", "januar", "februar", "märz", "mär", "mai", "juni", "juli", "oktober", "okt", "dezember", "dez"),
        *("janvier", "février", "mars", "avril", "juin", "juillet", "août", "septembre", "octobre", "novembre"),
        *("décembre", "enero", "febrero", "marzo", "abril", "mayo", "junio", "julio", "agosto", "septiembre"),
        *("octubre", "noviembre", "diciembre"),
    }
)
WEEKDAYS = frozenset(
    {
        *("mon", "tue", "tues", "wed", "thu", "thur", "thurs", "fri", "sat", "sun", "monday", "tuesday", "wednesday"),
        *("thursday", "friday", "saturday", "sunday", "montag", "dienstag"),
        *("mittwoch", "donnerstag", "freitag", "samstag", "sonnabend", "sonntag", "lundi", "mardi", "mercredi"),
        *("jeudi", "vendredi", "samedi", "dimanche", "lunes", "martes", "miércoles", "jueves", "viernes", "sábado"),
        "domingo",
    }
)
# Of which two alone may be countries or states.
SHORT_WEEKDAYS = frozenset({"mo", "di", "mi", "do", "fr", "sa", "so"})
_SEVERAL, _WORKING_DAYS = 3, 5
# What may stand behind the part in a column's name: week_no, day of week.
_NUMBER_OF = frozenset({"no", "nr", "num", "number", "name", "label"})
_SEASONS = frozenset(
    {
        *("spring", "summer", "autumn", "fall", "winter", "frühling", "frühjahr", "sommer", "herbst"),
        *("printemps", "été", "automne", "hiver", "primavera", "verano", "otoño", "invierno"),
    }
)
# Numbered periods of a year, which are no timestamps.
PERIODS = re.compile(
    r"(19|20)\d\d[-/ ]?(Q[1-4]|W\d\d?|KW ?\d\d?|H[12]|[MP]\d\d?)|(Q[1-4]|H[12]|W\d\d?|KW ?\d\d?|[MP]\d\d?)[-/ ]?(19|20)\d\d|"
    r"FY ?(19|20)?\d\d[-/ ]*[QPMWH]?\d{0,2}|(19|20)\d\d/\d\d",
    re.IGNORECASE,
)
_CLOCK = re.compile(r"\d{1,2}(:\d\d)? ?[ap]\.?m\.?|\d{1,2}(:\d\d)? ?(-|to|bis) ?\d{1,2}:\d\d( ?h| uhr)?")
_NUMBERED = re.compile(r"[a-z]{1,7}[ .-]?\d{1,2}|\d{1,2}[ .]?(h|uhr|hrs?)")


def is_time_part(column: Column) -> bool:
    """Whether a column holds months, weekdays or hours by name, or numbers of such that its own name explains."""
    words = {value.casefold().rstrip(".") for value in column.present}
    if len(words) < 2 or column.is_numeric or column.has_key_name:
        return False
    named = has_word(column.header, PARTS) and last_word(column.header) in PARTS | _NUMBER_OF
    return (
        (len(words) >= _SEVERAL and (words <= _MONTHS or words <= WEEKDAYS))
        or words <= _SEASONS
        or (len(words) >= _WORKING_DAYS and words <= SHORT_WEEKDAYS)
        or all(map(PERIODS.fullmatch, words))
        or all(map(_CLOCK.fullmatch, words))
        or (named and all(map(_NUMBERED.fullmatch, words)))
    )
