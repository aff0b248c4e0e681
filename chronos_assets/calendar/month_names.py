"""Names of months in the languages that files are written in."""

from __future__ import annotations

import re

# English, German, French, Spanish, Italian, Portuguese and Dutch; a file may have lost the accents.
_MONTHS = (
    "jan january januar jänner jän janvier janv enero ene gennaio gen janeiro januari",
    "feb february februar feber février févr fevrier fevr febrero febbraio fevereiro fev februari",
    "mar march märz mär maerz mars marzo março marco maart mrt",
    "apr april avril avr abril abr aprile",
    "may mai mayo maggio mag maio mei",
    "jun june juni juin junio giugno giu junho",
    "jul july juli juillet juil julio luglio lug julho",
    "aug august août aout agosto ago augustus",
    "sep sept september septembre septiembre settembre set setembro",
    "oct october oktober okt octobre octubre ottobre ott outubro out",
    "nov november novembre noviembre novembro",
    "dec december dezember dez décembre déc decembre diciembre dic dicembre dezembro",
)
ENGLISH: tuple[str, ...] = ("January", "February", "March", "April", "May", "June", "July", "August", "September")
ENGLISH += ("October", "November", "December")
NUMBER_OF_MONTH = {name: number for number, names in enumerate(_MONTHS, start=1) for name in names.split()}


def foreign_month(text: str) -> str | None:
    """The name of a month in a text that is none in English; None where there is none."""
    english = {name[:width].lower() for name in ENGLISH for width in (3, None)}
    names = (name for name in re.findall(r"[^\W\d_]+", text) if name.lower() in NUMBER_OF_MONTH)
    return next((name for name in names if name.lower() not in english), None)
