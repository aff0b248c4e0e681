"""The default predictor: every member with a base model as it is, weighed by quick backtests.

Here belongs which members there are for a base model, and their forecasters; learning is in `learning`, windows in
`backtest_windows`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from chronos_assets.models.checkpoints import ModelDescription
from chronos_assets.params.predictor import CHRONOS, COVARIATES, POOLED, RATES, STATISTICAL, TUNED
from chronos_assets.predictors.backtest_windows import ZERO_SHOT_COST
from chronos_assets.predictors.backtester import Backtester, JoinedBacktester, PastWindow, StandIns, histories_before
from chronos_assets.predictors.ensemble import open_member
from chronos_assets.predictors.learning import learn
from chronos_assets.predictors.members.base import Member
from chronos_assets.predictors.members.catalogue import rate_of, regression_names, untuned
from chronos_assets.predictors.members.covariate_chronos import readable
from chronos_assets.predictors.members.regression import History, Regression, fit_regression
from chronos_assets.predictors.pooled_backtests import open_pooled
from chronos_assets.predictors.predictor import Predictor
from chronos_assets.predictors.recipe import Recipe

if TYPE_CHECKING:
    from chronos_assets.models.forecasting import Forecaster

_SAMPLED_RATES = ("1",)  # of a family that samples a hundred paths: other rates cost too much


def member_names(
    checkpoints: Mapping[str, ModelDescription], horizon: int, wanted: Sequence[str] = (), *, covariates: bool = False
) -> tuple[str, ...]:
    """Names of the members there are for some checkpoints, `chronos` and `tuned`.

    Interpolated rates are left out where their horizon is longer than a network's block: block after block, they cost many
    times a plain pass.

    Args:
        checkpoints: by name.
        horizon: periods to forecast.
        wanted: names, or their parts before the slash (`chronos`: all its rates); all members if empty.
        covariates: whether there are some that change over time, for networks that read them.
    """
    names: list[str] = []
    for checkpoint in (TUNED, CHRONOS):
        if checkpoint in checkpoints:
            description = checkpoints[checkpoint]
            names += [
                name
                for rate in (RATES if description.family != "t5" else _SAMPLED_RATES)
                if (fine := rate_of(name := f"{checkpoint}/{rate}")[1]) == 1
                or fine * horizon <= description.block_length
            ]
            if covariates and description.family == "chronos2":
                names.append(f"{checkpoint}/{COVARIATES}")
    names += STATISTICAL
    chosen = [name for name in names if not wanted or name in wanted or name.partition("/")[0] in wanted]
    return tuple(chosen)


def open_backtester(
    forecasters: Mapping[str, Forecaster], recipe: Recipe, wanted: Sequence[str] = (), *, covariates: bool = False
) -> Backtester:
    """All members that these forecasters make possible, ready for `learn`, but regressions, which are fitted as of a period.

    Args:
        forecasters: by checkpoint, for any horizon.
        recipe: see `Recipe`.
        wanted: see `member_names`.
        covariates: likewise.

    Raises:
        ValueError: no wanted member is possible.
    """
    descriptions = {name: forecaster.model.description for name, forecaster in forecasters.items()}
    names = member_names(descriptions, recipe.horizon, wanted, covariates=covariates)
    if not names:
        raise ValueError(f"none of the members {', '.join(wanted)} is possible with {', '.join(forecasters) or 'none'}")
    members: list[Member] = [open_member(name, forecasters) for name in names]
    return Backtester(members, recipe.seasons)


def learn_predictor(
    windows: Sequence[PastWindow],
    forecasters: Mapping[str, Forecaster],
    recipe: Recipe,
    *,
    wanted: Sequence[str] = (),
    backtester: Backtester | None = None,
    histories: Sequence[History] = (),
    trained_until: int | None = None,
    learned: Mapping[str, Any] | None = None,
    categories: Mapping[str, Mapping[str, str]] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Predictor:
    """A predictor of the members that these forecasters make possible.

    Args:
        windows: of the past; none gives the prior weights.
        forecasters: by checkpoint, for any horizon.
        recipe: see `Recipe`.
        wanted: see `member_names`.
        backtester: of an earlier call with the same forecasters and members, which has forecast some of the windows.
        histories: of the series, with covariates, up to the as-of; none, where there are no covariates.
        trained_until: number of the last period that the tuned checkpoint was trained on, as the windows' `end` counts;
            no window is one of its training, if not given.
        learned: copied into the predictor.
        categories: see `learn`.
        progress: see `learn`.

    Raises:
        ValueError: no wanted member is possible.
    """
    base = forecasters[CHRONOS].model.description if CHRONOS in forecasters else None
    shared = backtester or open_backtester(forecasters, recipe, wanted, covariates=_are_readable(windows))
    names = {*(member.name for member in shared.members), *regression_names(forecasters, wanted)}
    if trained_until is not None and not all(untuned(name) in names for name in names):
        windows = [window for window in windows if not window.begins_by(trained_until)]
    regressions, regression = _regressions(windows, histories, forecasters, recipe, wanted)
    autoregression, pooled = open_pooled(windows, recipe) if not wanted or POOLED in wanted else (None, None)
    tried: Backtester | JoinedBacktester = shared
    for own in (regressions, autoregression):
        tried = JoinedBacktester(tried, own) if own is not None else tried
    return learn(
        windows,
        tried if trained_until is None else StandIns(tried, trained_until),
        recipe,
        regression=regression,
        pooled=pooled,
        base={"reference": base.reference, "digest": base.digest} if base is not None else {},
        learned=learned,
        categories=categories,
        progress=progress,
    )


def _are_readable(windows: Sequence[PastWindow]) -> bool:
    """Whether a window has covariates that a network can read."""
    return any(window.covariates is not None and readable(window.covariates) for window in windows)


def _regressions(
    windows: Sequence[PastWindow],
    histories: Sequence[History],
    forecasters: Mapping[str, Forecaster],
    recipe: Recipe,
    wanted: Sequence[str],
) -> tuple[Backtester | None, Regression | None]:
    """Regressions on covariates that know nothing of the windows, to be tried on them, and one that knows all; or neither."""
    names = regression_names(forecasters, wanted)
    if not windows or not histories or not names:
        return None, None
    tried = fit_regression(histories_before(windows), recipe.horizon, recipe.seasons)
    known = fit_regression(histories, recipe.horizon, recipe.seasons) if tried is not None else None
    if tried is None or known is None:
        return None, None
    return Backtester([open_member(name, forecasters, tried) for name in names], recipe.seasons), known


def zero_shot_recipe(
    horizon: int,
    seasons: tuple[int, ...],
    max_cost: float = ZERO_SHOT_COST,
    *,
    per_item: bool = True,
    **options: Any,
) -> Recipe:
    """The recipe of the default predictor: at no more than `ZERO_SHOT_COST` passes."""
    return Recipe(horizon, seasons, max_cost=min(max_cost, ZERO_SHOT_COST), per_item=per_item, **options)
