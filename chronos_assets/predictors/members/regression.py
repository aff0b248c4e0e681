"""A regression of demand on covariates, pooled over series: fitting it, its values, its files, and what it says of attributes.

Here belongs the arithmetic between a matrix (`design`) and effects. What is done with effects, taking them out of a series,
forecasting the rest and putting them back, is in `covariate_regression`.

Two parts are added. A ridge regression has the straight lines: the elasticity of a price is one, and it holds beyond the prices
that were ever seen. Gradient boosted trees (LightGBM) then learn what of the rest isn't straight: thresholds, seasons,
interactions. They need data: where there are few rows, or where trees forecast a later fifth no better, there
are none.

**Scale.** Where nothing is below zero, effects are factors: both parts have a logarithmic link and a Poisson loss, which zeros
don't break. Elsewhere they are added, in units of a series' standard deviation. Series differ in level and drift for reasons
that no attribute has; so the level is a wide moving average of the series without its effects, and only the attributes' part
is kept. Levels and slopes are estimated in turns, each of which knows that a slope moves the levels (a Newton step): prices
last for weeks, and by turns alone the level would keep a part of their effect.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from chronos_assets.calendar.holidays import PREFIX
from chronos_assets.errors import ChronosAssetsError
from chronos_assets.predictors.members.base import Covariates, row_sum
from chronos_assets.predictors.members.design import CALENDAR, DesignColumn, matrix, plan_columns
from chronos_assets.timeseries.arrays import Booleans, Floats

Link = Literal["log", "identity"]

REACH = 512  # latest periods of a context that effects are taken out of
MOST_ROWS = 150_000  # that a regression is fitted to
LEAST_ROWS = 24
LEAST_ROWS_FOR_TREES = 300
_PENALTY = 3.0  # rows that say the slope is 0
_TURNS = 4  # of level and effects
_MOST_TREES, _PATIENCE = 200, 20
_HELD_OUT = 0.2
_GAIN = 0.002  # relative, of the loss of held-out rows, that trees have to bring
_LARGEST = 3.0  # of an effect: a factor of 20, or three standard deviations
_TINY = 1e-9
_COUNTRY = re.compile(r"[A-Z]{2}(-[A-Z0-9]{1,3})?")
_TREES: Mapping[str, Any] = {
    "learning_rate": 0.08,
    "num_leaves": 15,
    "max_bin": 63,
    "lambda_l2": 1.0,
    "boost_from_average": False,
    "num_threads": 1,
    "deterministic": True,
    "force_row_wise": True,
    "seed": 1,
    "verbosity": -1,
}


class LightgbmError(ChronosAssetsError):
    """LightGBM isn't installed whole; one line with what is missing and how to install it."""


@dataclass(frozen=True)
class History:
    """What a regression learns from: a series' values (T,), NaN where nothing was observed, and its covariates."""

    values: Floats
    covariates: Covariates


@dataclass(frozen=True)
class Regression:
    """See the module.

    Attributes:
        link: `log`: effects are factors; `identity`: they are added.
        lag: of past-only attributes, in periods.
        columns: of the matrix.
        slopes: of the columns as they are, (K,); 0 of those that no line goes through.
        trees: LightGBM's text, empty without trees.
        rows: that it was fitted to.
    """

    link: Link
    lag: int
    columns: tuple[DesignColumn, ...]
    slopes: tuple[float, ...]
    trees: str
    rows: int

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of what it reads, the calendar as one, in order."""
        return tuple(sorted({column.attribute for column in self.columns}))

    @property
    def named(self) -> tuple[dict[str, str], frozenset[str]]:
        """Attributes that a request may give: kind by name (`number`, `category`), and which of them are past-only.

        Not among them are item metadata, and what the calendar gives.
        """
        given = [
            column
            for column in self.columns
            if column.source != "static" and not column.name.startswith((CALENDAR, PREFIX))
        ]
        kinds: dict[str, str] = {}
        for column in given:
            kinds.setdefault(column.name, "category" if column.form == "category" else "number")
        return kinds, frozenset(column.name for column in given if column.source == "past")

    def has_learned(self, attribute: str, text: str) -> bool:
        """Whether a category that is known in advance has this text in what it was fitted to, often enough to count."""
        return any(
            (column.source, column.form, column.name, column.level) == ("known", "category", attribute, text)
            for column in self.columns
        )

    @property
    def countries(self) -> tuple[str, ...]:
        """Countries whose holidays it reads."""
        names = {column.attribute.removeprefix(PREFIX) for column in self.columns if column.name.startswith(PREFIX)}
        return tuple(sorted(name for name in names if _COUNTRY.fullmatch(name)))

    def effects(self, covariates: Covariates, rows: int, horizon: int) -> Floats:
        """Effects (rows + horizon,) at so many latest periods of a context and those after it."""
        found = matrix(self.columns, covariates, rows, horizon, self.lag)
        total = self._linear(found)
        if self.trees:
            total = total + self._booster.predict(found, raw_score=True, num_threads=1)
        return np.clip(total, -_LARGEST, _LARGEST)

    def contributions(self, covariates: Covariates, rows: int, horizon: int) -> Floats:
        """What each attribute adds to the effects of the periods after a context, (horizon, attributes).

        Of lines, against the mean of so many latest rows of the series; of trees, SHAP values of Lundberg et al. (2020).
        """
        found = matrix(self.columns, covariates, rows, horizon, self.lag)
        slopes = np.array(self.slopes)
        parts = np.where(np.isfinite(found), found, 0.0) * slopes
        if self.trees:
            parts = parts + self._booster.predict(found, pred_contrib=True, num_threads=1)[:, :-1]
        # A level that all periods share is the series' own, no attribute's.
        parts = parts[rows:] - parts[:rows].mean(axis=0)
        names = self.attributes
        result = np.zeros((horizon, len(names)))
        for place, column in enumerate(self.columns):
            result[:, names.index(column.attribute)] += parts[:, place]
        return result

    def to_document(self) -> dict[str, Any]:
        """The regression as JSON values."""
        return {
            "link": self.link,
            "lag": self.lag,
            "rows": self.rows,
            "columns": [
                {name: value for name, value in asdict(column).items() if value != ""} | {"slope": slope}
                for column, slope in zip(self.columns, self.slopes, strict=True)
            ],
            "trees": self.trees.splitlines(),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Regression:
        """The reverse of `to_document`. Raises ValueError, KeyError or TypeError where it is none."""
        if document["link"] not in ("log", "identity"):
            raise ValueError(f"link of the regression is {document['link']!r}, not log or identity")
        described = [dict(column) for column in document["columns"]]
        slopes = tuple(float(column.pop("slope")) for column in described)
        return cls(
            document["link"],
            int(document["lag"]),
            tuple(DesignColumn(**column) for column in described),
            slopes,
            "".join(f"{line}\n" for line in document["trees"]),
            int(document["rows"]),
        )

    def _linear(self, found: Floats) -> Floats:
        return row_sum(np.where(np.isfinite(found), found, 0.0) * np.array(self.slopes))

    @cached_property
    def _booster(self) -> Any:
        return _lightgbm().Booster(model_str=self.trees)


def _lightgbm() -> Any:
    """The library, loaded where trees are grown or read and nowhere else: it takes a second.

    Raises:
        LightgbmError: it can't be loaded.
    """
    try:
        import lightgbm
    except (ImportError, OSError) as error:
        raise LightgbmError(
            f"LightGBM, which learns the effects of covariates, can't be loaded: {error}; install its runtime, libgomp1 on "
            "Debian and Ubuntu, libgomp on Fedora, libomp on macOS"
        ) from error
    return lightgbm


def spread(values: Floats) -> float:
    """The unit of added effects: standard deviation of the latest values, NaN where they don't differ."""
    latest = values[-REACH:]
    known = latest[np.isfinite(latest)]
    found = float(known.std()) if len(known) > 1 else 0.0
    return found if found > 0 else float("nan")


def fit_regression(histories: Sequence[History], lag: int, seasons: Sequence[int] = ()) -> Regression | None:
    """A regression of all these series; None where there is nothing to learn from.

    Args:
        histories: of the series, up to what may be known.
        lag: in periods, of past-only attributes: the horizon.
        seasons: in periods; a level is wider than two of them.
    """
    usable = [history for history in histories if np.isfinite(history.values).sum() > 2]
    if not usable:
        return None
    each = max(LEAST_ROWS, MOST_ROWS // len(usable))
    least = min(float(np.nanmin(np.where(np.isfinite(item.values), item.values, np.nan))) for item in usable)
    link: Link = "log" if least >= 0 else "identity"
    columns = plan_columns((history.covariates for history in usable), ratios=link == "log")
    if not columns:
        return None
    panel = _Panel.of(usable, columns, lag, each, link, tuple(seasons))
    if panel is None or int(panel.known.sum()) < LEAST_ROWS:
        return None
    slopes, linear = _ridge(panel)
    trees = _boost(panel, linear) if int(panel.known.sum()) >= LEAST_ROWS_FOR_TREES else ""
    return Regression(link, lag, columns, tuple(slopes.tolist()), trees, int(panel.known.sum()))


@dataclass(frozen=True)
class _Panel:
    """The rows of all series, one after another.

    Attributes:
        found: the matrix, (N, K).
        linear: columns that lines go through, less their mean over each series, 0 where unknown, (N, K).
        target: (N,), in units of the series where effects are added; 0 where unknown.
        known: where there is a target, (N,).
        bounds: first row of each series, and N.
        widths: of each series' moving average, in rows.
        age: share of its series that lies after a row, (N,).
        link: see `Regression`.
    """

    found: Floats
    linear: Floats
    target: Floats
    known: Booleans
    bounds: list[int]
    widths: list[int]
    age: Floats
    link: Link

    @classmethod
    def of(
        cls,
        histories: Sequence[History],
        columns: Sequence[DesignColumn],
        lag: int,
        each: int,
        link: Link,
        seasons: tuple[int, ...],
    ) -> _Panel | None:
        found, linear, target, age, bounds, widths = [], [], [], [], [0], []
        is_linear = np.array([column.is_linear for column in columns])
        for history in histories:
            rows = min(each, len(history.values), history.covariates.periods)
            values = history.values[-rows:]
            unit = 1.0 if link == "log" else spread(history.values)
            if (
                rows < 1
                or not np.isfinite(unit)
                or not np.isfinite(values).any()
                or (link == "log" and not (values > 0).any())
            ):
                continue
            part = matrix(columns, history.covariates, rows, 0, lag)
            seen = np.isfinite(part) & np.isfinite(values)[:, None]
            mean = np.where(seen, part, 0.0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
            found.append(part)
            linear.append(np.where(np.isfinite(part), part - mean, 0.0) * is_linear)
            target.append(values / unit)
            age.append(1 - (np.arange(rows) + 1) / rows)
            bounds.append(bounds[-1] + rows)
            fitting = [season for season in seasons if 3 * season <= rows]
            widths.append(max(rows // 4, 2 * max(fitting, default=0), 3))
        if not found:
            return None
        values = np.concatenate(target)
        known = np.isfinite(values)
        return cls(
            np.concatenate(found),
            np.concatenate(linear),
            np.where(known, values, 0.0),
            known,
            bounds,
            widths,
            np.concatenate(age),
            link,
        )

    def standing_out(self, effects: Floats) -> tuple[Floats, Floats]:
        """The target over its level (less it, where effects are added), and the weight of each row, both (N,).

        The level is that of the series without the effects. A row's weight is what its series' noise leaves it: zeros and
        ones of a slow item say less about a price than the sales of a fast one.
        """
        ratio, weight = np.empty_like(self.target), np.empty_like(self.target)
        for low, high, width in zip(self.bounds, self.bounds[1:], self.widths, strict=False):
            part = slice(low, high)
            target, known, effect = self.target[part], self.known[part], effects[part]
            if self.link == "identity":
                ratio[part] = target - _moving_mean(target - effect, known, np.ones(high - low), width)
                noise = ratio[part] - effect
            else:
                factor = np.exp(effect)
                level = np.maximum(_moving_mean(target, known, factor, width), _TINY)
                ratio[part] = np.minimum(target / level, 20.0)
                noise = ratio[part] - factor
            variance = float((noise[known] ** 2).mean()) if known.any() else np.inf
            weight[part] = np.where(known, 1 / max(variance, 1e-4), 0.0)
        positive = weight[weight > 0]
        typical = float(np.median(positive)) if len(positive) else 1.0
        return ratio, np.where(weight > 0, np.clip(weight / typical, 0.1, 10.0), 0.0)


def _moving_mean(values: Floats, known: Booleans, shares: Floats, width: int) -> Floats:
    """Sum of the known values over the sum of their shares, in a centred window of so many rows, (n,); or (n, K) of columns."""
    columns = values.reshape(len(values), -1)
    half = width // 2
    above = _running_sum(np.where(known[:, None], columns, 0.0))
    below = _running_sum(np.where(known, shares, 0.0)[:, None])
    rows = np.arange(len(values))
    low, high = np.maximum(rows - half, 0), np.minimum(rows + half + 1, len(values))
    total, weight = above[high] - above[low], below[high] - below[low]
    everywhere = above[-1] / max(float(below[-1, 0]), _TINY)
    return np.where(weight > _TINY, total / np.maximum(weight, _TINY), everywhere).reshape(values.shape)


def _running_sum(columns: Floats) -> Floats:
    """Sums of the first 0, 1, ..., n rows, (n + 1, K)."""
    return np.concatenate([np.zeros((1, columns.shape[1])), np.cumsum(columns, axis=0)])


def _ridge(panel: _Panel) -> tuple[Floats, Floats]:
    """Slopes (K,) of the columns, and the effects (N,) that they give."""
    scale = np.sqrt((panel.linear[panel.known] ** 2).mean(axis=0))
    used = np.flatnonzero(scale > _TINY)
    slopes = np.zeros(panel.linear.shape[1])
    effects = np.zeros(len(panel.target))
    if not len(used):
        return slopes, effects
    design = panel.linear[:, used] / scale[used]
    penalty = np.diag(np.full(len(used), _PENALTY))
    found = np.zeros(len(used))
    for _ in range(_TURNS):
        ratio, weight = panel.standing_out(effects)
        factor = np.exp(effects) if panel.link == "log" else np.ones_like(effects)
        error = ratio - (factor if panel.link == "log" else effects)
        step = np.linalg.solve(
            _curvature(panel, design, factor, weight) + penalty, design.T @ (weight * error) - penalty @ found
        )
        found = found + step
        effects = np.clip(design @ found, -_LARGEST, _LARGEST)
    slopes[used] = found / scale[used]
    return slopes, effects


def _curvature(panel: _Panel, design: Floats, factor: Floats, weight: Floats) -> Floats:
    """How far the slopes' equations move with the slopes, (K, K): by the columns less their means in the level's window."""
    result = np.zeros((design.shape[1], design.shape[1]))
    for low, high, width in zip(panel.bounds, panel.bounds[1:], panel.widths, strict=False):
        part = slice(low, high)
        columns, share = design[part], factor[part]
        own = columns - _moving_mean(columns * share[:, None], panel.known[part], share, width)
        result += (columns * (weight[part] * share)[:, None]).T @ own
    return result


def _boost(panel: _Panel, linear: Floats) -> str:
    """LightGBM's text of the trees that lower the loss of the latest rows; empty where none do."""
    lightgbm = _lightgbm()
    ratio, weight = panel.standing_out(linear)
    objective = "poisson" if panel.link == "log" else "regression"
    options = {**_TREES, "objective": objective, "metric": "None"}
    late = panel.age < _HELD_OUT
    rows = np.flatnonzero(panel.known & ~late)
    held = np.flatnonzero(panel.known & late)
    if len(rows) < LEAST_ROWS_FOR_TREES // 2 or len(held) < LEAST_ROWS:
        return ""
    options["min_data_in_leaf"] = int(np.clip(len(rows) // 100, 10, 200))

    def data(chosen: Any) -> Any:
        return lightgbm.Dataset(
            panel.found[chosen],
            label=ratio[chosen],
            weight=weight[chosen],
            init_score=linear[chosen],
            params=dict(options),
            free_raw_data=False,
        )

    def loss(scores: Floats, _: Any) -> tuple[str, float, bool]:
        # LightGBM hands over what its objective makes of scores: ratios, of either link.
        return "loss", _loss(scores, ratio[held], weight[held]), False

    before = _loss(np.exp(linear[held]) if panel.link == "log" else linear[held], ratio[held], weight[held])
    trained = data(rows)
    booster = lightgbm.train(
        options,
        trained,
        _MOST_TREES,
        valid_sets=[
            lightgbm.Dataset(
                panel.found[held], label=ratio[held], weight=weight[held], init_score=linear[held], reference=trained
            )
        ],
        feval=loss,
        callbacks=[lightgbm.early_stopping(_PATIENCE, verbose=False)],
    )
    after = booster.best_score["valid_0"]["loss"]
    if not after < before - _GAIN * abs(before):
        return ""
    everything = np.flatnonzero(panel.known)
    number = max(1, booster.best_iteration)
    return str(lightgbm.train(options, data(everything), number).model_to_string())


def _loss(made: Floats, labels: Floats, weights: Floats) -> float:
    """Weighted mean squared error of the ratios: of both links alike, so that a threshold means the same."""
    return float((weights * (labels - made) ** 2).sum() / max(float(weights.sum()), _TINY))
