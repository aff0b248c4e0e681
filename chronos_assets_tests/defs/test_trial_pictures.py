"""Pictures of a search: real PNGs, small, the same for the same trials, and of what they should show."""

import io
import math
import subprocess
import sys

import numpy as np
import pytest

from chronos_assets.benchmark.matplotlib_png import MAX_PNG_BYTES
from chronos_assets.defs.trial_pictures import loss_curves_png
from chronos_assets.platforms.tuning import Trial

BEST = (217, 72, 15)
LEVEL = 12  # how far a color of the palette may be from the one drawn


def trial(number, rate=5e-5, state="Completed", scale=1.0, steps=200):
    losses = tuple(
        (step, scale * (1 + math.exp(-step / 40) + 0.05 * math.sin(step * rate * 1e5))) for step in range(1, steps)
    )
    validation = tuple((step, scale * (0.1 + abs(rate - 5e-5) * 1000 / step)) for step in range(20, steps + 1, 20))
    objective = None if state == "Failed" else validation[-1][1]
    return Trial(number, {"learning_rate": rate}, state, objective, losses, ((0, 0.2), *validation), 1.0)


def trials(count):
    states = ["Completed", "Completed", "Stopped", "Failed"]
    return [trial(number, 1e-5 * (1 + number % 9), states[number % 4]) for number in range(count)]


def pixels(png):
    from matplotlib.image import imread

    return (np.asarray(imread(io.BytesIO(png)))[..., :3] * 255).round().astype(int)


def share(picture, color):
    """Share of the pixels that have a color, as well as a palette tells it."""
    return (np.abs(picture - np.array(color)) <= LEVEL).all(axis=2).mean()


@pytest.mark.parametrize("count", [1, 6, 7, 50])
def test_a_picture_is_a_small_png(count):
    png = loss_curves_png(trials(count), base_validation=0.2)
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(png) <= MAX_PNG_BYTES
    picture = pixels(png)
    assert picture.shape[1] >= 384
    assert share(picture, (255, 255, 255)) > 0.5
    assert share(picture, BEST) > 0.001


def test_the_same_gives_the_same_bytes_and_what_is_reported_is_drawn():
    made = trials(2)
    plain = loss_curves_png(made)
    assert plain == loss_curves_png(made)
    assert loss_curves_png(made, base_validation=0.2) != plain
    assert loss_curves_png([made[0], trial(1, 9e-5)]) != plain
    assert loss_curves_png([made[0], trial(1, 2e-5, "Stopped")]) != plain


def test_a_search_without_a_completed_trial_or_any_number_has_a_picture():
    for made in ([], [Trial(0, {}, "Failed", None, (), (), 1.0)], [trial(0, state="Stopped")]):
        picture = pixels(loss_curves_png(made))
        assert share(picture, BEST) == 0
        assert (picture < 128).any()


def test_one_diverging_trial_does_not_flatten_the_others():
    def height(png):
        """How far the best trial's curves reach from top to bottom."""
        picture = pixels(png)
        rows = np.flatnonzero((np.abs(picture - np.array(BEST)) <= LEVEL).all(axis=2).any(axis=1))
        rows = rows[rows < 0.8 * len(picture)]  # above the legend
        return (rows.max() - rows.min()) / len(picture)

    good = [trial(number, 1e-5 * (number + 1)) for number in range(5)]
    assert height(loss_curves_png(good)) > 0.3
    diverging = Trial(5, {"learning_rate": 1e-2}, "Completed", 1e6, ((199, 1e6),), ((200, 1e6),), 1.0)
    assert height(loss_curves_png([*good, diverging])) > 0.3


def test_drawing_is_imported_when_it_is_needed():
    script = "import sys, chronos_assets.defs.trial_pictures; assert 'matplotlib' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)
