"""The sample: the same bytes every time, the shape of the real one, life in it."""

import hashlib
import json
from datetime import UTC, datetime

import numpy as np
import pytest

from chronos_assets.params.reader import parse_params
from chronos_assets.timeseries.dataset.importing import import_target_time_series
from chronos_assets.timeseries.dataset.sample import sample_params, write_july, write_sample
from chronos_assets.timeseries.dataset.shards import iter_series, list_shards
from chronos_assets.timeseries.dataset.train_files import TrainFile


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sample")
    write_sample(folder)
    write_july(folder / "july.csv")
    return folder


@pytest.fixture(scope="module")
def series(folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("dataset") / "out"
    import_target_time_series(
        [
            TrainFile(folder / "train/electricity.csv", "train/electricity.csv", datetime(2025, 7, 1, tzinfo=UTC)),
            TrainFile(folder / "july.csv", "train/july.csv", datetime(2025, 8, 1, tzinfo=UTC)),
        ],
        parse_params(json.loads((folder / "params.json").read_text())),
        output=output,
        rejected=output.parent / "rejected",
    )
    return {found.key[0]: found for path in list_shards(output) for found in iter_series(path)}


def lines_of(path):
    return path.read_text().splitlines()


@pytest.mark.process
def test_the_bytes_never_change(folder):
    digests = [
        hashlib.sha256((folder / name).read_bytes()).hexdigest()[:16] for name in ("train/electricity.csv", "july.csv")
    ]
    assert digests == ["c2405716cc447c37", "2d3d7a345b23a0b6"]


def test_another_seed_and_fewer_clients(folder, tmp_path):
    write_sample(tmp_path, seed=11, clients=3)
    lines = lines_of(tmp_path / "train/electricity.csv")
    assert len({line.rsplit(",")[2] for line in lines}) == 3
    assert lines[0] != lines_of(folder / "train/electricity.csv")[0]


def test_rows_are_those_of_the_real_sample_without_a_header(folder):
    first = lines_of(folder / "train/electricity.csv")[0].split(",")
    assert first[0] == "2024-07-01 00:00:00"
    assert float(first[1]) > 0
    assert first[2] == "household_1"


def test_the_parameters_are_valid():
    params = parse_params(sample_params())
    assert (params.horizon, str(params.frequency), params.quantiles, params.mean) == (72, "H", (0.1, 0.5, 0.9), True)


@pytest.mark.process
def test_july_goes_on_where_the_year_ends(folder, series):
    times = [line.split(",")[0] for line in lines_of(folder / "train/electricity.csv")]
    july = [line.split(",")[0] for line in lines_of(folder / "july.csv")]
    assert max(times) == "2025-06-30 23:00:00"
    assert (min(july), max(july)) == ("2025-07-01 00:00:00", "2025-07-31 23:00:00")
    for found in series.values():
        june, later = found.target[365 * 24 - 14 * 24 : 365 * 24], found.target[365 * 24 : 365 * 24 + 14 * 24]
        assert 0.6 < np.nanmean(later) / np.nanmean(june) < 1.6


def test_ten_clients_with_gaps_and_an_outlier_or_two(series):
    assert len(series) == 10
    gaps = {key: int(found.filled.sum()) for key, found in series.items()}
    assert all(0 < gap < 0.05 * 9504 for gap in gaps.values())
    assert max(gaps.values()) > 50
    outliers = [
        key for key, found in series.items() if np.nanmax(found.target) > 3 * np.nanquantile(found.target, 0.999)
    ]
    assert len(outliers) == 2


def test_days_and_weeks_have_a_shape(series):
    office = series["office_1"]
    hours = office.timestamps.astype("datetime64[h]").astype(int)
    weekend = (office.timestamps.astype("datetime64[D]").astype(int) + 3) % 7 >= 5
    noon, night = hours % 24 == 11, hours % 24 == 2
    assert np.nanmean(office.target[noon & ~weekend]) > 3 * np.nanmean(office.target[night & ~weekend])
    assert np.nanmean(office.target[noon & ~weekend]) > 2.5 * np.nanmean(office.target[noon & weekend])
    closed = office.timestamps.astype("datetime64[D]") == np.datetime64("2024-12-30")
    assert np.nanmax(office.target[closed]) < 0.6 * np.nanquantile(office.target, 0.9)


def test_winter_costs_a_household_more_than_summer(series):
    home = series["household_1"]
    month = home.timestamps.astype("datetime64[M]").astype(int) % 12
    assert np.nanmean(home.target[month == 0]) > 1.15 * np.nanmean(home.target[month == 7])
