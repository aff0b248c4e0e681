"""What is exported, and how: `Chronos.Export` and the service's `EvaluationParameters`.

Here: their values, readers and documents. Elsewhere: the files (`timeseries.export_files`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

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

    format: ExportFormat = "CSV"
    compression: Compression = "NONE"
    max_megabytes: int | None = None

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

    windows: int = 1
    offset: int | None = None


def read_export(chronos: Section) -> ExportParams:
    """The section `Export` of `Chronos`; what is wrong with it goes to the section's findings."""
    section = chronos.section("Export")
    if section is None:
        return ExportParams()
    default = ExportParams()
    export = ExportParams(
        format=cast(ExportFormat, section.choice("ExportFormat", get_args(ExportFormat)) or default.format),
        compression=cast(Compression, section.choice("Compression", get_args(Compression)) or default.compression),
        max_megabytes=section.integer("MaxMegabytes", low=1),
    )
    if export.format == "PARQUET" and export.compression == "GZIP":
        section.wrong("Compression", "Parquet files compress by themselves", "remove it, or write ExportFormat CSV")
    section.finish({})
    return export


def export_document(export: ExportParams) -> dict[str, Any]:
    """The JSON value of the section that reads back as `export`: only what differs from the defaults."""
    default = ExportParams()
    options = (
        ("ExportFormat", export.format, default.format),
        ("Compression", export.compression, default.compression),
        ("MaxMegabytes", export.max_megabytes, default.max_megabytes),
    )
    return {key: value for key, value, standard in options if value != standard}


def read_backtest(predictor: Section, horizon: int | None) -> BacktestParams:
    """`EvaluationParameters` of the predictor; what is wrong with it goes to the section's findings."""
    section = predictor.section("EvaluationParameters")
    if section is None:
        return BacktestParams()
    backtest = BacktestParams(
        windows=section.integer("NumberOfBacktestWindows", low=1, high=MAX_BACKTESTS) or BacktestParams.windows,
        offset=section.integer("BackTestWindowOffset", low=1),
    )
    if horizon is not None and backtest.offset is not None and backtest.offset < horizon:
        section.wrong(
            "BackTestWindowOffset", f"a window of {horizon} periods doesn't fit into it", f"write {horizon} or more"
        )
    section.finish({})
    return backtest


def backtest_document(backtest: BacktestParams) -> dict[str, Any]:
    """The JSON value of the section that reads back as `backtest`: only what differs from the defaults."""
    default = BacktestParams()
    options = (
        ("NumberOfBacktestWindows", backtest.windows, default.windows),
        ("BackTestWindowOffset", backtest.offset, default.offset),
    )
    return {key: value for key, value, standard in options if value != standard}
