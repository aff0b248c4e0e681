"""The paper's figure: what it shows, that it is the same every time, and that it fits into metadata."""

from __future__ import annotations

import io
import math
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from chronos_assets.benchmark.data import open_data
from chronos_assets.benchmark.figure import draw
from chronos_assets.benchmark.matplotlib_png import MAX_PNG_BYTES, to_png, to_small_png
from chronos_assets.benchmark.report import small_figure, write_report
from chronos_assets.benchmark.scores import Aggregate, Kind, Result, aggregate, read_published


def item(model: str, kind: Kind, wql: float, mase: float, *, sampled: bool = False) -> Aggregate:
    return Aggregate(model, kind, "zero-shot", wql, mase, 0.8, 12, sampled, 100, 1.0)


ITEMS = [
    item("bundled", "ours", 0.7, 0.85),
    item("AutoETS", "local statistical", 0.9, 0.8, sampled=True),
    item("chronos", "published", 0.6, math.nan),
    item("Seasonal naive", "local statistical", 1.0, 1.0),
]


def labels(figure: object) -> list[list[str]]:
    return [[tick.get_text() for tick in axes.get_yticklabels()] for axes in figure.axes]  # type: ignore[attr-defined]


def test_bars_are_sorted_in_each_panel_and_coloured_by_kind() -> None:
    figure = draw(ITEMS, sets=12)
    assert labels(figure) == [
        ["chronos", "bundled", "AutoETS*", "Seasonal naive"],
        ["AutoETS*", "bundled", "Seasonal naive"],
    ]
    left, _ = figure.axes
    assert [bar.get_width() for bar in left.patches] == [0.6, 0.7, 0.9, 1.0]
    colours = [bar.get_facecolor() for bar in left.patches]
    assert len(set(colours)) == 3
    assert colours[2] == colours[3]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["ours", "foundation, published", "local statistical"]
    assert any("some of the series" in text.get_text() for text in figure.texts)


def test_a_model_measured_on_fewer_sets_is_marked() -> None:
    assert labels(draw(ITEMS[:1], sets=13))[0] == ["bundled*"]
    figure = draw(ITEMS[:1], sets=12)
    assert labels(figure)[0] == ["bundled"]
    assert not any("some of the series" in text.get_text() for text in figure.texts)


def test_a_figure_of_nothing_is_drawn() -> None:
    assert to_png(draw([], sets=0)).startswith(b"\x89PNG")


def test_the_figure_of_all_published_models_fits_into_metadata_and_is_legible(shared_data: Path) -> None:
    folder = shared_data / "benchmark"
    published = aggregate(read_published(folder, open_data(str(folder)).tasks))
    bars = [*(one for one in published if one.benchmark == "zero-shot"), *ITEMS]
    picture = to_small_png(draw(bars, sets=12))
    assert len(picture) <= MAX_PNG_BYTES
    with Image.open(io.BytesIO(picture)) as image:
        assert image.width >= 800


def test_a_figure_that_cannot_be_small_enough_is_an_error() -> None:
    with pytest.raises(ValueError, match="more than 50 bytes"):
        to_small_png(Figure(figsize=(1, 1)), 50)


@pytest.mark.parametrize("benchmark", ["zero-shot", "in-domain"])
def test_a_report_has_its_files_and_the_same_scores_give_the_same_bytes(tmp_path: Path, benchmark: str) -> None:
    results: Sequence[Result] = [Result("m", "ours", "a", benchmark, 0.2, 0.9, 0.4, 1.2, 0.8, 4, 8)]  # type: ignore[arg-type]
    published = [Result("p", "published", "a", benchmark, 0.3, 1.0, 0.4, 1.2)]  # type: ignore[arg-type]
    for name in ("one", "two"):
        write_report(tmp_path / name, results, published)
    files = {path.name: path.read_bytes() for path in (tmp_path / "one").iterdir()}
    assert set(files) == {"results.csv", "aggregate.csv", "figure.png", "figure.svg"}
    assert {path.name: path.read_bytes() for path in (tmp_path / "two").iterdir()} == files
    assert len(files["results.csv"].splitlines()) == len(files["aggregate.csv"].splitlines()) == 3
    assert len(small_figure(results, published)) <= MAX_PNG_BYTES


def test_drawing_needs_no_screen_and_keeps_no_figure() -> None:
    code = (
        "import sys\n"
        "import chronos_assets.benchmark.report as report\n"
        "assert 'matplotlib' not in sys.modules\n"
        "report.small_figure([], [])\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
