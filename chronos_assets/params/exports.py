"""What is exported, and how: `Chronos.Export` and the service's `EvaluationParameters`.

Here: their values and readers. Elsewhere: the files (`timeseries.export_files`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

from chronos_assets.params.declared_options import Option, one_of, read_options, whole
from chronos_assets.params.document import Section

ExportFormat = Literal["CSV", "PARQUET"]
Compression = Literal["NONE", "GZIP"]
MAX_BACKTESTS = 5  # of the service


def type_column(names: Iterable[str]) -> str:
    """What `forecast.csv` calls its column of types (p10, …, mean): `type`, unless one of the schema's has that name."""
    taken = {name.casefold() for name in names}
    found = "type"
    while found in taken:
        found = f"forecast_{found}"
    return found


@dataclass(frozen=True)
class ExportParams:
    """How exports are written.

    Attributes:
        format: of the exports; Parquet compresses by itself.
        compression: of CSV files.
        max_megabytes: about how large a file may get before another one is begun; None: one file, whatever its size.
    """

    format: Annotated[ExportFormat, Option("ExportFormat", one_of(ExportFormat))] = "CSV"
    compression: Annotated[Compression, Option("Compression", one_of(Compression))] = "NONE"
    max_megabytes: Annotated[int | None, Option("MaxMegabytes", whole(1))] = None

    @property
    def suffix(self) -> str:
        """End of the files' names."""
        if self.format == "PARQUET":
            return ".parquet"
        return ".csv.gz" if self.compression == "GZIP" else ".csv"


@dataclass(frozen=True)
class BacktestParams:
    """Which past windows the backtest export shows.

    Attributes:
        windows: how many.
        offset: periods between their starts, and from the last one's start to the end of the data; None: the horizon.
    """

    windows: Annotated[int, Option("NumberOfBacktestWindows", whole(1, MAX_BACKTESTS))] = 1
    offset: Annotated[int | None, Option("BackTestWindowOffset", whole(1))] = None


def read_export(chronos: Section, key: str) -> ExportParams | None:
    """The section `Export` of `Chronos`; what is wrong with it goes to the section's findings."""
    section = chronos.section(key)
    if section is None:
        return None
    export = read_options(ExportParams, section)
    if export.format == "PARQUET" and export.compression == "GZIP":
        section.wrong("Compression", "Parquet files compress by themselves", "remove it, or write ExportFormat CSV")
    section.finish({})
    return export


def read_backtest(predictor: Section, horizon: int | None) -> BacktestParams:
    """`EvaluationParameters` of the predictor; what is wrong with it goes to the section's findings."""
    section = predictor.section("EvaluationParameters")
    if section is None:
        return BacktestParams()
    backtest = read_options(BacktestParams, section)
    if horizon is not None and backtest.offset is not None and backtest.offset < horizon:
        section.wrong(
            "BackTestWindowOffset", f"a window of {horizon} periods doesn't fit into it", f"write {horizon} or more"
        )
    section.finish({})
    return backtest
