"""Sparklines: small enough to be drawn in place, whatever the series, and with nothing of the data in their markup."""

from __future__ import annotations

import base64
import re
from itertools import pairwise
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from chronos_assets.timeseries.forecast.sparkline import (
    MARKDOWN_LIMIT,
    Outlook,
    escape_markdown,
    sparkline_markdown,
    sparkline_svg,
)

SVG = "{http://www.w3.org/2000/svg}"
NUMBER = st.one_of(st.floats(-1e12, 1e12), st.floats(allow_nan=True, allow_infinity=False), st.just(float("nan")))


@st.composite
def outlooks(draw: st.DrawFn) -> Outlook:
    history = draw(hnp.arrays(np.float64, st.integers(0, 300), elements=NUMBER))
    steps = draw(st.integers(0, 120))
    low, median, high = np.sort(draw(hnp.arrays(np.float64, (3, steps), elements=st.floats(-1e15, 1e15))), axis=0)
    return Outlook(history, median, low, high) if draw(st.booleans()) else Outlook(history, median)


def points_of(path: str) -> list[tuple[int, int]]:
    """Absolute points of a path: a browser's reading of the commands M, m, l and z with packed numbers."""
    points: list[tuple[int, int]] = []
    for command, arguments in re.findall(r"([Mmlz])([^Mmlz]*)", path):
        numbers = [int(text) for text in re.findall(r"-?\d+", arguments)]
        assert command == "z" or (numbers and len(numbers) % 2 == 0), path
        for x, y in zip(numbers[::2], numbers[1::2], strict=True):
            left, top = points[-1] if points and command != "M" else (0, 0)
            points.append((left + x, top + y))
    return points


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)  # noqa: S314 - of our own making


def paths_of(svg: str) -> list[list[tuple[int, int]]]:
    return [points_of(path.get("d", "")) for path in parsed(svg).iter(f"{SVG}path")]


@given(outlooks(), st.text(max_size=100))
def test_is_an_image_short_enough_to_be_drawn_in_place(outlook: Outlook, label: str) -> None:
    markdown = sparkline_markdown(label, outlook)
    assert len(markdown) <= MARKDOWN_LIMIT
    alternative, encoded = re.fullmatch(r"!\[(.*)\]\(data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)\)", markdown).groups()  # type: ignore[union-attr]
    assert re.fullmatch(r"(\\.|[^\\\[\]<>])*", alternative)
    svg = base64.b64decode(encoded).decode()
    assert parsed(svg).tag == f"{SVG}svg"
    for path in paths_of(svg):
        assert all(0 <= x <= 240 and 0 <= y <= 60 for x, y in path)


def test_draws_history_median_and_band_to_scale() -> None:
    history, median = np.arange(10.0), np.array([10.0, 11.0, 12.0, 13.0])
    band, past, future = paths_of(sparkline_svg(Outlook(history, median, median - 3, median + 2)))
    assert (len(band), len(past), len(future)) == (8, 10, 5)
    assert past[-1] == future[0]  # the line continues
    # The lowest value is at the bottom, the highest at the top of the band; rows fall in equal steps.
    assert past[0][1] == 58
    assert min(y for _, y in band) == 2
    steps = np.diff([y for _, y in past])
    assert (steps < 0).all()
    assert np.ptp(steps) <= 1
    assert len({right - left for (left, _), (right, _) in pairwise(past)}) == 1


def test_says_the_range_that_is_drawn() -> None:
    svg = sparkline_svg(Outlook(np.array([1.0, 250.0]), np.array([3.0])))
    assert [text.text for text in parsed(svg).iter(f"{SVG}text")] == ["250", "1"]


def test_a_gap_interrupts_the_line() -> None:
    svg = sparkline_svg(Outlook(np.array([1.0, 2.0, np.nan, 4.0, 5.0]), np.array([5.0])))
    assert svg.count("m") >= 1
    assert re.search(r'd="M[^"l]*l[^"m]*m[^"l]*l', svg)


def test_long_series_are_thinned_by_averages_to_one_time_scale() -> None:
    history, median = np.tile([0.0, 10.0], 400), np.tile([0.0, 10.0], 200)
    past, future = paths_of(sparkline_svg(Outlook(history, median), points=40))
    assert (len(past), len(future)) == (27, 1 + 14)  # buckets of 30; the median begins at the last point of the past
    assert len({y for _, y in past + future}) == 1  # every bucket's mean is 5


def test_a_flat_series_and_one_of_huge_values_are_drawn_and_one_without_values_is_empty() -> None:
    flat = sparkline_svg(Outlook(np.full(5, 3.0), np.full(2, 3.0)))
    assert {y for path in paths_of(flat) for _, y in path} == {30}
    huge = sparkline_svg(Outlook(np.array([-1.7e308, 1.7e308]), np.array([0.0])))
    assert [y for _, y in paths_of(huge)[0]] == [58, 2]
    assert paths_of(sparkline_svg(Outlook(np.full(3, np.nan), np.empty(0)))) == []


def test_labels_are_shown_as_they_are() -> None:
    assert escape_markdown("a_b](x) <img>\n") == r"a\_b\]\(x\) \<img\> "
    assert sparkline_markdown("x" * 100, Outlook(np.ones(3), np.ones(2))).startswith("![" + "x" * 39 + "…]")


def test_a_band_has_two_sides_as_long_as_the_median() -> None:
    with pytest.raises(ValueError, match="two sides"):
        Outlook(np.ones(3), np.ones(2), low=np.ones(2))
    with pytest.raises(ValueError, match="low has 1 steps where the median has 2"):
        Outlook(np.ones(3), np.ones(2), low=np.ones(1), high=np.ones(2))
    with pytest.raises(ValueError, match="does not fit"):
        sparkline_markdown("x", Outlook(np.ones(3), np.ones(2)), limit=50)


@pytest.mark.parametrize("steps", [3, 7, 14, 24])
def test_a_short_forecast_is_drawn_at_the_datas_own_resolution_with_as_much_history_as_fits(steps: int) -> None:
    wave = 50 + 40 * np.sin(np.arange(400))
    median = wave[200 : 200 + steps]
    markdown = sparkline_markdown("series", Outlook(wave[:200], median, median - 5, median + 5))
    drawn = base64.b64decode(re.search(r"base64,([^)]+)", markdown)[1]).decode()
    *_, history, forecast = re.findall(r'<path d="([^"]+)"', drawn)
    assert len(points_of(forecast)) == steps + 1  # from the last observation on
    assert len(points_of(history)) >= max(steps // 2, 4)
    assert len(markdown) <= MARKDOWN_LIMIT
