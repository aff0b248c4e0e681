"""The predictor: members, their weights, the calibration of their bands; and the folder it is kept in.

Here belong the value and its files. How it is learned is in `learning`, how it forecasts in `ensemble`.

A folder has `predictor.json`, meant to be read by people, and beside it `config.json` and safetensors of the checkpoint that
was trained on the user's data, where there is one. A folder with a checkpoint alone is a predictor with that one member. The
base model is named by its reference, with the digest of the files that weights were learned with; a copy of it is in the folder
`base` where it is another than the bundled one, which is on every machine.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.params.predictor import DEFAULT_METRIC, METRICS, POOLED, OptimizationMetric
from chronos_assets.predictors.calibration import Calibration
from chronos_assets.predictors.members.base import AttributeForm
from chronos_assets.predictors.members.catalogue import checkpoint_of, reads_covariates, reads_natively, residual_of
from chronos_assets.predictors.members.pooled_autoregression import PooledAutoregression
from chronos_assets.predictors.members.regression import Regression
from chronos_assets.predictors.traits import NAMES as TRAIT_NAMES
from chronos_assets.predictors.traits import TraitEffects, traits_of
from chronos_assets.system import document_digest
from chronos_assets.timeseries.arrays import Floats

PREDICTOR_FILE = "predictor.json"
BASE_FOLDER = "base"
FORMAT = 1  # of the file; a higher one is refused
RECIPE_VERSION = 20  # counts up when a predictor learned from the same data would come out otherwise
_DIGITS = 6
# Weights add up to 1 except for the digits that the file has. They are not corrected when it is read: what is read again and
# again would differ in the last bit each time, and `selection.combine` divides by the sum.
_ROUNDED = 1e-3
_SHOWN = ("learned", "leaderboard", "gain")

Key = tuple[str, ...]
Segment = tuple[int | str, str]


class PredictorError(ChronosAssetsError):
    """A predictor's file can't be used; one line with what, where and how to fix it."""


@dataclass(frozen=True)
class Standing:
    """One row of the leaderboard, over the windows that weights were learned on.

    Attributes:
        member: its name, or `ensemble`.
        wql, mase, coverage: of the windows; coverage is that of the band from p10 to p90. None where undefined.
        weight: the pooled one; None of the ensemble.
        series_per_second: when it was learned, on that machine; None where it was not measured.
    """

    member: str
    wql: float | None
    mase: float | None
    coverage: float | None
    weight: float | None
    series_per_second: float | None = None

    def to_document(self) -> dict[str, Any]:
        """The row as JSON values."""
        return {name: _rounded(value) for name, value in vars(self).items()}


@dataclass(frozen=True)
class Predictor:
    """See the module.

    Attributes:
        members: names, see `members.catalogue`.
        weights: pooled, (M,), summing to 1.
        calibration: of the combined bands.
        live_width: by how much more the bands are widened (or narrowed), since published ones of late were found to need it.
        seasons: candidate seasons in periods that members test.
        horizon: periods that it was learned for; others can be forecast.
        metric: that the weights lower.
        items: weights of items that have their own, (M,).
        segments: weights of the other items by what a dimension or an attribute of the item metadata is, (M,):
            (place of the dimension in a key, or name of the attribute, value) -> weights.
        traits: how weights follow from what a series looks like, whoever's they are; None where nothing was learned of it.
        regression: on covariates, which members named `regression/...` use; None without one.
        pooled: the member of that name, fitted to the data set; None without it.
        attributes: that change over time, by name, where a network that reads covariates is a member; empty otherwise.
        base: reference and digest of the base model that members named `chronos/...` use; empty without one.
        learned: from what: source, windows, series, until, ...; shown, never read back by the code.
        leaderboard: see `Standing`; the ensemble first.
        gain: by how much the ensemble is better than its best member: `member`, `value`, `low`, `high` of the difference of
            their wQL; empty where it is not known.
        categories: attribute -> item -> value, of the attributes that segments are about; not in the file, see `of_categories`.
    """

    members: tuple[str, ...]
    weights: Floats
    calibration: Calibration
    seasons: tuple[int, ...]
    horizon: int
    metric: OptimizationMetric = DEFAULT_METRIC
    items: Mapping[Key, Floats] = field(default_factory=dict)
    segments: Mapping[Segment, Floats] = field(default_factory=dict)
    traits: TraitEffects | None = None
    regression: Regression | None = None
    pooled: PooledAutoregression | None = None
    attributes: Mapping[str, AttributeForm] = field(default_factory=dict)
    base: Mapping[str, str] = field(default_factory=dict)
    learned: Mapping[str, Any] = field(default_factory=dict)
    leaderboard: tuple[Standing, ...] = ()
    gain: Mapping[str, Any] = field(default_factory=dict)
    live_width: float = 1.0
    categories: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.members or len(set(self.members)) < len(self.members):
            raise ValueError(f"members {list(self.members)}: each is named once, and there is at least one")
        for weights in (self.weights, *self.items.values(), *self.segments.values()):
            total = float(weights.sum()) if weights.shape == (len(self.members),) else float("nan")
            if not (weights >= 0).all() or not abs(total - 1) < _ROUNDED:
                raise ValueError(f"weights {weights.tolist()} are not {len(self.members)} shares of 1")
        if self.regression is None and any(residual_of(member) is not None for member in self.members):
            raise ValueError("there is a member that needs a regression on covariates, and there is none")
        if self.pooled is None and POOLED in self.members:
            raise ValueError("there is a pooled autoregression among the members, and its coefficients are missing")
        if not 0 < self.live_width < float("inf"):
            raise ValueError(f"live_width is {self.live_width}: it must be above 0")
        if self.horizon < 1 or any(season < 2 for season in self.seasons):
            raise ValueError(f"horizon {self.horizon} and seasons {list(self.seasons)} must be from 1 and from 2")

    @property
    def checkpoints(self) -> frozenset[str]:
        """Which checkpoints its members need."""
        return frozenset(name for member in self.members if (name := checkpoint_of(member)) is not None)

    @property
    def reads_covariates(self) -> bool:
        """Whether its forecasts follow from covariates."""
        return any(reads_covariates(name) for name in self.members)

    @property
    def requested(self) -> tuple[dict[str, str], frozenset[str]]:
        """Attributes that a request may give: kind by name (`number`, `category`), and which of them are past-only."""
        kinds, past_only = self.regression.named if self.regression is not None else ({}, frozenset())
        own = {name: str(form.kind) for name, form in self.attributes.items()}
        return {**kinds, **own}, past_only | {name for name, form in self.attributes.items() if not form.known}

    def knows(self, attribute: str, text: str, past: Container[str]) -> bool:
        """Whether a text of a category known in advance moves a forecast: the regression, or a network, has seen it before.

        Args:
            attribute: its name.
            text: its value in the horizon.
            past: its values in the series' past, which is all that a network has seen.
        """
        if self.regression is not None and self.regression.has_learned(attribute, text):
            return True
        return any(reads_natively(name) for name in self.members) and text in past

    def weights_of(self, key: Key | None, traits: Floats | None = None) -> Floats:
        """An item's weights: its own, or those of its segment, or the pooled ones; tilted by its traits.

        Args:
            key: of the item; None for one that has no key.
            traits: of its history, see `traits.traits_of`; if not given, weights are those of a typical history.
        """
        weights = self._weights_of(key)
        return weights if self.traits is None or traits is None else self.traits.tilted(weights[None], traits[None])[0]

    def weights_of_series(self, keys: Sequence[Key | None], traits: Floats | None) -> Floats:
        """Weights (N, M) of series with some traits, see `traits_of`."""
        weights = np.stack([self._weights_of(key) for key in keys])
        return weights if self.traits is None or traits is None else self.traits.tilted(weights, traits)

    def traits_of(self, contexts: Sequence[Floats]) -> Floats | None:
        """Traits (N, traits) of some contexts; None where weights don't follow from them."""
        return traits_of(contexts, min(self.seasons, default=1)) if self.traits is not None else None

    @property
    def trait_names(self) -> tuple[str, ...]:
        """What of a series its weights follow from; empty where nothing was learned of it."""
        return TRAIT_NAMES if self.traits is not None else ()

    def _weights_of(self, key: Key | None) -> Floats:
        if key is None:
            return self.weights
        if key in self.items:
            return self.items[key]
        parts: list[Segment] = [(place, part) for place, part in enumerate(key) if place]
        parts += [(name, of_item[key[0]]) for name, of_item in self.categories.items() if key[0] in of_item]
        return next((self.segments[part] for part in parts if part in self.segments), self.weights)

    def of_categories(self, categories: Mapping[str, Mapping[str, str]]) -> Predictor:
        """The same, knowing what its items are in the attributes that have segments; without it they have the pooled weights.

        Args:
            categories: attribute -> item -> value, of any attributes.
        """
        asked = {place for place, _ in self.segments}
        return replace(self, categories={name: found for name, found in categories.items() if name in asked})

    def without_speeds(self) -> Predictor:
        """The same without what was timed: two runs of the same give the same bytes."""
        return replace(self, leaderboard=tuple(replace(row, series_per_second=None) for row in self.leaderboard))

    def alone(self, member: str) -> Predictor:
        """One of its members by itself, with the bands that it gives."""
        return replace(
            self,
            members=(member,),
            weights=np.ones(1),
            calibration=Calibration.none(),
            live_width=1.0,
            items={},
            segments={},
            traits=None,
            regression=self.regression if residual_of(member) is not None else None,
            pooled=self.pooled if member == POOLED else None,
        )

    def used(self) -> Predictor:
        """The same without members that nothing gives a weight to."""
        every = (self.weights, *self.items.values(), *self.segments.values())
        kept = np.flatnonzero(np.sum([weights > 0 for weights in every], axis=0))
        members = tuple(self.members[place] for place in kept)
        return replace(
            self,
            members=members,
            regression=self.regression if any(residual_of(name) is not None for name in members) else None,
            pooled=self.pooled if POOLED in members else None,
            attributes=self.attributes if any(reads_natively(name) for name in members) else {},
            weights=self.weights[kept],
            traits=self.traits.members(kept) if self.traits is not None else None,
            items={key: own[kept] for key, own in self.items.items()},
            segments={part: own[kept] for part, own in self.segments.items()},
        )

    @property
    def digest(self) -> str:
        """SHA-256 of what was learned and forecasts follow from: neither what is shown nor what a forecast is widened by."""
        document = {name: value for name, value in self.to_document().items() if name not in (*_SHOWN, "live_width")}
        return document_digest(document, sort_keys=True)

    def summary(self) -> dict[str, Any]:
        """What a forecast's manifest says of it; nothing that differs between two runs of the same."""
        rows = [row.to_document() for row in self.leaderboard]
        return {
            "digest": self.digest,
            "weights": self._named(self.weights),
            "items": len(self.items),
            "segments": len(self.segments),
            **({"traits": list(self.trait_names)} if self.traits is not None else {}),
            "metric": self.metric,
            "learned": dict(self.learned),
            "leaderboard": [{name: row[name] for name in row if name != "series_per_second"} for row in rows],
            "gain": {name: _rounded(value) for name, value in self.gain.items()},
        }

    def to_document(self) -> dict[str, Any]:
        """The predictor as JSON values."""
        return {
            "format": FORMAT,
            "members": list(self.members),
            "weights": self._named(self.weights),
            "items": [{"key": list(key), "weights": self._named(own)} for key, own in sorted(self.items.items())],
            "calibration": self.calibration.to_document(),
            "seasons": list(self.seasons),
            "horizon": self.horizon,
            "metric": self.metric,
            "base": dict(self.base),
            "learned": dict(self.learned),
            "leaderboard": [row.to_document() for row in self.leaderboard],
            "gain": {name: _rounded(value) for name, value in self.gain.items()},
            **({"live_width": self.live_width} if self.live_width != 1.0 else {}),
            **({"segments": self._segment_rows()} if self.segments else {}),
            **({"traits": self.traits.to_document(self.members)} if self.traits is not None else {}),
            **({"regression": self.regression.to_document()} if self.regression is not None else {}),
            **({"pooled": self.pooled.to_document()} if self.pooled is not None else {}),
            **({"attributes": {name: vars(form) for name, form in self.attributes.items()}} if self.attributes else {}),
        }

    def to_json(self) -> bytes:
        """The file's content: the same predictor, the same bytes."""
        return (json.dumps(self.to_document(), indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode()

    def save(self, folder: Path) -> None:
        """Write `predictor.json` into a folder."""
        (folder / PREDICTOR_FILE).write_bytes(self.to_json())

    @classmethod
    def from_json(cls, content: bytes, where: str = PREDICTOR_FILE) -> Predictor:
        """The predictor of a file's content.

        Raises:
            PredictorError: it is none, or of a later format.
        """
        try:
            document = json.loads(content)
            if not isinstance(document, dict):
                raise TypeError("it is not a JSON object")
            if document.get("format") != FORMAT:
                raise ValueError(f"format is {document.get('format')!r}, and this version reads {FORMAT}")
            return cls._from_document(document)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reason = f"{error.args[0]} is missing" if isinstance(error, KeyError) else str(error)
            raise PredictorError(
                f"{where} can't be read as a predictor: {reason}; put the registered file back, or train a new version"
            ) from error

    @classmethod
    def load(cls, folder: Path) -> Predictor | None:
        """The predictor of a folder; None where it has a checkpoint alone.

        Raises:
            PredictorError: see `from_json`.
        """
        path = folder / PREDICTOR_FILE
        return cls.from_json(path.read_bytes(), str(path)) if path.is_file() else None

    @classmethod
    def _from_document(cls, document: Mapping[str, Any]) -> Predictor:
        members = tuple(document["members"])
        for member in members:
            checkpoint_of(member)
        if document["metric"] not in METRICS:
            raise ValueError(f"metric {document['metric']!r} is not one of {', '.join(METRICS)}")

        def weights(named: Mapping[str, float]) -> Floats:
            unknown = sorted(set(named) - set(members))
            if unknown:
                raise ValueError(f"weights of {', '.join(unknown)}, which are no members")
            return np.array([float(named.get(member, 0.0)) for member in members])

        return cls(
            members=members,
            weights=weights(document["weights"]),
            calibration=Calibration.from_document(document["calibration"]),
            seasons=tuple(int(season) for season in document["seasons"]),
            horizon=int(document["horizon"]),
            metric=document["metric"],
            items={tuple(item["key"]): weights(item["weights"]) for item in document["items"]},
            segments={
                (str(row["attribute"]) if "attribute" in row else int(row["dimension"]), str(row["value"])): weights(
                    row["weights"]
                )
                for row in document.get("segments") or ()
            },
            traits=TraitEffects.from_document(traits, members) if (traits := document.get("traits")) else None,
            regression=Regression.from_document(regression) if (regression := document.get("regression")) else None,
            pooled=PooledAutoregression.from_document(pooled) if (pooled := document.get("pooled")) else None,
            attributes={name: AttributeForm(**form) for name, form in (document.get("attributes") or {}).items()},
            base=document["base"],
            learned=document["learned"],
            leaderboard=tuple(Standing(**row) for row in document["leaderboard"]),
            gain=document["gain"],
            live_width=float(document.get("live_width", 1.0)),
        )

    def _segment_rows(self) -> list[dict[str, Any]]:
        return [
            {"attribute" if isinstance(place, str) else "dimension": place, "value": value, "weights": self._named(own)}
            for (place, value), own in sorted(self.segments.items(), key=lambda segment: segment[0][1])
        ]

    def _named(self, weights: Floats) -> dict[str, float]:
        """Weights by member, without zeros."""
        return {
            member: round(float(weight), _DIGITS)
            for member, weight in zip(self.members, weights, strict=True)
            if weight > 0
        }


def rounded(predictor: Predictor) -> Predictor:
    """The predictor as it is read back from its file, so that what learned it and what loads it forecast alike."""
    return Predictor.from_json(predictor.to_json())


def _rounded(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return float(f"{value:.{_DIGITS}g}") if np.isfinite(value) else None
