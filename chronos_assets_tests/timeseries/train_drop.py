"""A train/ folder for tests: put files into it, import them, look at the series."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from chronos_assets.params.reader import parse_params
from chronos_assets.timeseries.dataset.bad_rows import ImportFailure
from chronos_assets.timeseries.dataset.importing import import_target_time_series
from chronos_assets.timeseries.dataset.resources import Resources
from chronos_assets.timeseries.dataset.sample import sample_params
from chronos_assets.timeseries.dataset.shards import Manifest, iter_series, list_shards
from chronos_assets.timeseries.dataset.train_files import TrainFile

START = datetime(2024, 1, 1, tzinfo=UTC)


def params_for(
    *,
    frequency="H",
    columns=("timestamp", "target_value", "item_id"),
    dimensions=(),
    aggregation="sum",
    filling=None,
    pattern="yyyy-MM-dd HH:mm:ss",
    boundary=None,
    chronos=None,
):
    document = sample_params()
    kinds = {"timestamp": "timestamp", "target_value": "float"}
    document["Datasets"][0]["Schema"]["Attributes"] = [
        {"AttributeName": name, "AttributeType": kinds.get(name, "string")} for name in columns
    ]
    document["Datasets"][0]["DataFrequency"] = frequency
    document["TimestampFormat"] = pattern
    method = {"aggregation": aggregation, **(filling or {})}
    config = {
        "ForecastFrequency": frequency,
        "Featurizations": [
            {
                "AttributeName": "target_value",
                "FeaturizationPipeline": [
                    {"FeaturizationMethodName": "filling", "FeaturizationMethodParameters": method}
                ],
            }
        ],
    }
    if dimensions:
        config["ForecastDimensions"] = list(dimensions)
    document["Predictor"]["FeaturizationConfig"] = config
    document["Predictor"]["ForecastHorizon"] = 4
    if boundary:
        document["Predictor"]["TimeAlignmentBoundary"] = boundary
    if chronos:
        document["Chronos"] = chronos
    return parse_params(document)


class Drop:
    """A train/ folder under construction, and the import of it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.files: list[TrainFile] = []

    def put(self, data, name=None, minutes=None):
        """Add a file; each is a minute newer than the one before."""
        minutes = len(self.files) if minutes is None else minutes
        name = name or f"{len(self.files)}.csv"
        path = self.folder / f"input-{len(self.files)}"
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        self.files.append(TrainFile(path, f"train/{name}", START + timedelta(minutes=minutes)))
        return self

    def put_table(self, table, name="x.parquet"):
        sink = io.BytesIO()
        pq.write_table(table, sink)
        return self.put(sink.getvalue(), name)

    @property
    def output(self):
        return self.folder / "dataset"

    @property
    def rejected(self):
        return self.folder / "rejected"

    def run(self, params=None, **options):
        options = {"resources": Resources(threads=1), **options}
        return import_target_time_series(
            self.files, params or params_for(), output=self.output, rejected=self.rejected, **options
        )

    def fail(self, params=None, **options):
        with pytest.raises(ImportFailure) as caught:
            self.run(params, **options)
        return caught.value

    def series(self):
        """Series by key (text for a plain item id): timestamps as text, targets, filled."""
        dimensions = Manifest.read(self.output).dimensions
        found = {}
        for path in list_shards(self.output):
            for series in iter_series(path, dimensions):
                key = series.key if dimensions else series.key[0]
                assert key not in found
                found[key] = (series.timestamps, series.target, series.filled)
        return found

    def targets(self):
        return {key: target.tolist() for key, (_, target, _) in self.series().items()}

    def bytes(self):
        return {path.name: path.read_bytes() for path in sorted(self.output.iterdir())}


def rows(*lines):
    """Lines of a CSV file."""
    return "".join(f"{line}\n" for line in lines)


# Three hours of one item, in the order of the sample's schema.
HOURS = rows("2024-01-01 00:00:00,1,a", "2024-01-01 01:00:00,2,a", "2024-01-01 02:00:00,3,a")
