"""Impacts of attributes by ablation: what a network makes of them, and beside those of a regression."""

import numpy as np

from chronos_assets.predictors.calibration import Calibration
from chronos_assets.predictors.explaining import Explainer, ablation_impacts, scores
from chronos_assets.predictors.members.base import LEVELS, Contexts, Covariates
from chronos_assets.predictors.predictor import Predictor

PERIODS, HORIZON = 6, 2


class Linear:
    """A member whose forecast is 100, less twice the price ahead, plus 5 on a feast, plus the last visits."""

    name = "chronos/covariates"

    def forecast(self, contexts: Contexts) -> np.ndarray:
        made = []
        for found in contexts.covariates:
            ahead = {name: values[found.periods :] for name, values in found.known.items()}
            visits = found.past["visits"][-1] if "visits" in found.past else 0.0
            made.append(100 - 2 * ahead["price"] + 5.0 * (ahead["event"] == "feast") + visits)
        return np.repeat(np.stack(made)[:, :, None], len(LEVELS), axis=2)


def beside() -> Covariates:
    price = np.array([3.0, 4.0, 5.0, 3.0, 4.0, 5.0, 4.0, 9.0])
    event = np.array(["", "", "feast", "", "", "", "feast", ""])
    return Covariates(PERIODS, {"visits": np.full(PERIODS, 7.0)}, {"price": price, "event": event})


def contexts() -> Contexts:
    return Contexts([np.ones(PERIODS)], HORIZON, (), [beside()])


def test_an_impact_is_the_difference_from_the_attribute_as_usual():
    (units,) = ablation_impacts(Linear(), contexts(), ["calendar", "event", "price", "visits"])
    assert units.tolist() == [[0, 5, 0, 7], [0, 0, -10, 7]]
    assert scores(units).tolist() == [[0, 0.5, 0, 0.7], [0, 0, -1, 0.7]]


def test_impacts_count_by_the_weight_of_who_reads_covariates():
    predictor = Predictor(("chronos/covariates", "theta"), np.array([0.25, 0.75]), Calibration.none(), (), HORIZON)
    explainer = Explainer.of(predictor, (Linear(),), [beside()])
    assert explainer.attributes == ("event", "price", "visits")
    units, weights = explainer.explain(contexts(), [("item",)], np.full((1, HORIZON), 100.0))
    assert weights.tolist() == [0.25]
    assert units[0].tolist() == [[5, 0, 7], [0, -10, 7]]


def test_a_series_whose_own_weights_read_no_covariates_has_no_impacts():
    members = ("chronos/covariates", "theta")
    own = {("item",): np.array([0.0, 1.0])}
    predictor = Predictor(members, np.array([0.5, 0.5]), Calibration.none(), (), HORIZON, items=own)
    units, weights = Explainer.of(predictor, (Linear(),), [beside()]).explain(
        contexts(), [("item",)], np.ones((1, HORIZON))
    )
    assert weights.tolist() == [0]
    assert not units.any()
    assert not scores(units[0]).any()
