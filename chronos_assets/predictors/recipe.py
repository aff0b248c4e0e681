"""How to learn a predictor: what a caller of `learning` decides beside the windows."""

from __future__ import annotations

from dataclasses import dataclass

from chronos_assets.params.predictor import DEFAULT_METRIC, OptimizationMetric


@dataclass(frozen=True)
class Recipe:
    """How to learn a predictor.

    Attributes:
        horizon: periods that it will forecast; windows may be shorter.
        seasons: candidate seasons in periods.
        metric: that weights lower.
        max_cost: plain passes of the network that the members may take together.
        per_item: whether items get weights of their own.
    """

    horizon: int
    seasons: tuple[int, ...]
    metric: OptimizationMetric = DEFAULT_METRIC
    max_cost: float = 8.0
    per_item: bool = False

    @property
    def season(self) -> int:
        """The shortest season that series may have; 1 without any."""
        return min(self.seasons, default=1)
