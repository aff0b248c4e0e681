"""Results, relative scores and aggregates; published aggregates are reproduced from published rows."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from benchmarks.zero_shot import markdown_tables
from chronos_assets.benchmark.scores import (
    RESULT_COLUMNS,
    Contender,
    Result,
    aggregate,
    geometric_mean,
    read_published,
    result_row,
    write_csv,
)
from chronos_assets.benchmark.tasks import TASKS, BenchmarkError
from chronos_assets_tests.timeseries.benchmark_folder import write_published

RESULT = Result("m", "ours", "nn5", "zero-shot", 0.2, 0.9, 0.4, 1.2, 0.8, series=4, set_series=8, seconds=2.0)


def test_published_rows_come_to_the_published_aggregates(shared_data: Path) -> None:
    folder = shared_data / "benchmark"
    found = {(item.model, item.benchmark): item for item in aggregate(read_published(folder, TASKS))}
    elsewhere = {model: found.pop((model, "zero-shot")) for model in ("TiRex (35M)", "TimeCopilot")}
    assert len(found) == 2 * 9
    for (model, benchmark), item in found.items():
        with (folder / "published" / "results" / f"{model}-agg-rel-scores.csv").open() as file:
            expected = {(row["benchmark"], row["metric"]): float(row["value"]) for row in csv.DictReader(file)}
        assert item.relative_wql == pytest.approx(expected[benchmark, "WQL"], rel=1e-6)
        assert item.relative_mase == pytest.approx(expected[benchmark, "MASE"], rel=1e-6)
        assert (item.kind, item.coverage, item.seconds) == ("published", None, 0.0)
    assert {(item.kind, item.sets) for item in elsewhere.values()} == {("published", 27)}
    bolt = found["chronos-bolt-base", "zero-shot"]
    assert elsewhere["TimeCopilot"].relative_wql < elsewhere["TiRex (35M)"].relative_wql < bolt.relative_wql


def test_published_rows_are_only_of_the_sets_asked_for(tmp_path: Path) -> None:
    write_published(tmp_path, {"a": {"nn5": (1.0, 2.0), "m5": (1.0, 1.0)}, "seasonal-naive": {"nn5": (4.0, 4.0)}})
    result, *elsewhere = read_published(tmp_path, ["nn5"])
    assert (result.model, result.relative_wql, result.relative_mase) == ("a", 0.25, 0.5)
    assert {(other.model, other.set) for other in elsewhere} == {("TiRex (35M)", "nn5"), ("TimeCopilot", "nn5")}
    with pytest.raises(BenchmarkError, match="lack set m5 of a"):
        read_published(tmp_path, ["m5"])
    assert read_published(tmp_path / "none", ["nn5"]) == []


def test_a_published_table_of_something_else_is_refused(tmp_path: Path) -> None:
    write_published(tmp_path, {"a": {"nn5": (1.0, 2.0)}})
    (tmp_path / "published" / "results" / "a-zero-shot.csv").write_text("name,score\nnn5,1\n")
    with pytest.raises(BenchmarkError, match=r"a-zero-shot.csv has no columns"):
        read_published(tmp_path, ["nn5"])


def test_a_result_is_the_same_after_it_was_kept() -> None:
    assert Result.from_json(RESULT.to_json()) == RESULT
    scored = replace(RESULT, members={"a": {"wql": 0.1, "mase": math.nan, "coverage_80": 0.7}, "b": {"wql": math.nan}})
    again = Result.from_json(scored.to_json())
    assert (again.best_member, again.times_best_member) == ("a", pytest.approx(2.0))
    assert math.isnan(again.members["b"]["wql"])
    undefined = replace(RESULT, mase=math.nan, coverage=None)
    back = Result.from_json(undefined.to_json())
    assert math.isnan(back.mase)
    assert replace(back, mase=0.0) == replace(undefined, mase=0.0)
    for text in (b"{}", b"[]", b"half of", b'{"wql": 1}'):
        with pytest.raises(BenchmarkError, match="not a result"):
            Result.from_json(text)


def test_aggregates_are_geometric_means_by_benchmark_best_first() -> None:
    results = [
        RESULT,
        replace(RESULT, set="m5", wql=0.8, coverage=0.9, series=8),
        replace(RESULT, set="m4_hourly", benchmark="in-domain"),
        replace(RESULT, model="better", wql=0.1, coverage=None),
        replace(RESULT, model="undefined", mase=math.nan, wql=math.nan),
    ]
    found = aggregate(results)
    assert [(item.model, item.benchmark) for item in found] == [
        ("better", "zero-shot"),
        ("m", "zero-shot"),
        ("undefined", "zero-shot"),
        ("m", "in-domain"),
    ]
    ours = found[1]
    assert ours.relative_wql == pytest.approx(math.sqrt(0.5 * 2.0))
    assert ours.relative_mase == pytest.approx(0.75)
    assert ours.coverage == pytest.approx(0.85)
    assert (ours.sets, ours.sampled, ours.series, ours.seconds) == (2, True, 12, 4.0)
    assert found[0].coverage is None
    assert math.isnan(found[2].relative_wql)


def test_geometric_means() -> None:
    assert geometric_mean([0.5, 2.0]) == pytest.approx(1.0)
    assert geometric_mean([0.0, 2.0]) == 0.0
    assert math.isnan(geometric_mean([]))


@pytest.mark.parametrize(("count", "limit"), [(645, 500), (23_000, 100), (1001, 1000), (7, 3)])
def test_a_sample_of_a_set_is_even_and_as_large_as_said(count: int, limit: int) -> None:
    places = sorted(Contender("m", "ours", "p", "", "1", max_series=limit).sampled(count))
    assert len(places) == limit
    gaps = {right - left for left, right in pairwise(places)}
    assert max(gaps) - min(gaps) <= 1
    assert 0 <= places[0] < count / limit
    assert count - count / limit <= places[-1] < count


def test_a_small_set_is_taken_whole() -> None:
    assert list(Contender("m", "ours", "p", "", "1", max_series=5).sampled(5)) == [0, 1, 2, 3, 4]
    assert len(Contender("m", "ours", "p", "", "1").sampled(10_000)) == 10_000


def test_the_identity_follows_from_all_that_a_result_does() -> None:
    contender, task = Contender("m", "ours", "p", "r", "1"), TASKS["nn5"]
    same = [replace(contender, name="other"), replace(contender, kind="foundation"), replace(contender, reference="x")]
    other = [
        replace(contender, version="2"),
        replace(contender, program="q"),
        replace(contender, max_series=3),
        replace(contender, max_history=3),
    ]
    identity = contender.identity(task, "digest")
    assert {item.identity(task, "digest") for item in same} == {identity}
    assert identity not in {item.identity(task, "digest") for item in other}
    assert identity not in {
        contender.identity(task, "other"),
        contender.identity(replace(task, rolls=1, horizon=8), "digest"),
    }


def test_tables_have_empty_cells_where_there_is_no_number(tmp_path: Path) -> None:
    published = Result("bolt", "published", "nn5", "zero-shot", 0.3, 1.0, 0.4, 1.2)
    write_csv(tmp_path / "t.csv", RESULT_COLUMNS, [result_row(RESULT), result_row(published)])
    ours, theirs = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert (ours["relative_wql"], ours["coverage_80"], ours["series_per_second"]) == ("0.5", "0.8", "2.0")
    assert (theirs["relative_mase"], theirs["coverage_80"], theirs["series_per_second"]) == ("0.833333", "", "")

    text = markdown_tables([RESULT, published], "m", ["bolt", "none"])
    assert "| **m** | ours | 0.500 | 0.750 | 80% | 1 ¹ | 2 |" in text
    assert "| bolt | published | 0.750 | 0.833 |  | 1 |  |" in text
    assert "| nn5 | 0.2000 | 0.900 | 80% | 0.500 | 0.750 | 0.750 / 0.833 |  |" in text
