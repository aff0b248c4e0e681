"""Quantile forecasts of many series with a loaded model.

Here belongs everything between contexts (arrays with NaN) and quantiles: batches, horizons beyond a model's
block, means, and naming the series that can't be forecast. Files, windows and as-of rules are in
`workloads.forecast`; the families' own calls in `families`; arithmetic on quantiles in `quantiles`.

**A series' forecast depends on nothing but the series.** Floating point results of a network depend on the shape of the
batch and on how many threads share a matrix, so that one run over many windows would differ in the last bits from
a run per window. Therefore each batch has the same number of rows (missing ones are zeros), each series is padded to a
length that follows from its own length alone, and each pass runs on one thread; parallel work is whole batches side by
side. With these, rows were seen to be independent of their place and their neighbours, bit for bit; `Forecaster` tries
that once on the model and machine at hand, and where it fails keeps the caller's groups apart in batches of their own.
Many short contexts share passes of more rows, if those give the same bits on that machine, too.
T5, which samples, has a seed for each series, and passes of as many series as memory holds the paths of.

**Beside a series.** Chronos-2 reads numbers beside a series, as many rows of a pass as there are attributes. Groups of one
size share passes: as many groups as fit its rows, or one that is larger. Each row has a scale of its own, so that units don't
matter; one that doesn't vary in the context has none, tells nothing, and is left out.

**Zero.** Series that the caller names (counts, sales) have no forecast below zero: their quantiles are clipped, and their
mean is that of the clipped distribution, so that both describe the same one.

**Scale.** Each context is standardised in float64 outside of the model (`scaling`), and its forecasts are scaled back in
float64. A context whose observations are all equal has no scale: its forecast is that value at every level.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from chronos_assets.models.batching import FEWEST, FULL, MOST_TIMES, default_rows, device_name, is_out_of_memory
from chronos_assets.models.checkpoints import check_quantiles
from chronos_assets.models.compiling import compiled
from chronos_assets.models.families import Chronos2Network, QuantileNetwork, adapt
from chronos_assets.models.loading import LoadedModel
from chronos_assets.models.precision import agreed_precision, multiplying_in, precisions_of
from chronos_assets.models.quantiles import interpolate, mean_of_quantiles, shortfall, sort_quantiles
from chronos_assets.models.sampling import Sampler
from chronos_assets.models.scaling import Scaled, restored, scale_only, standardise
from chronos_assets.models.unrolling import PATHS, unroll
from chronos_assets.params.options import FLOAT32, PRECISIONS
from chronos_assets.system import usable_cores
from chronos_assets.timeseries.arrays import LARGEST, Floats

Rows = NDArray[np.float32]

NOT_FINITE = "the model gave values that are not finite"  # the one reason for a skip that is the model's fault
_SHORTEST_BUCKET = 16
_WORTH_TRYING = 4  # passes of more rows, which a trial of them takes half of


@dataclass(frozen=True)
class Skip:
    """A series that was not forecast: its place among the contexts, and why."""

    index: int
    reason: str


@dataclass(frozen=True)
class BatchForecast:
    """Forecasts of N series.

    Attributes:
        quantiles: (N, horizon, W) at the levels asked for, ascending along the last axis; NaN for skipped series.
        mean: (N, horizon).
        skipped: series that could not be forecast, by index.
        crossed: (N,) number of periods whose quantiles the model gave out of order, and which were sorted.
        flat: (N,) whether a series' observations are all equal.
        raised: (N,) number of periods with a quantile or mean that was below zero, and was raised to it.
        traits: (N, traits) what the weights of an ensemble's members followed from; NaN where they didn't, None if none did.
    """

    quantiles: Floats
    mean: Floats
    skipped: tuple[Skip, ...]
    crossed: NDArray[np.int64]
    flat: NDArray[np.bool_]
    raised: NDArray[np.int64]
    traits: Floats | None = None

    def traits_at(self, places: Sequence[int]) -> Floats | None:
        """Those of some series, (n, traits); None where there are none."""
        return self.traits[list(places)] if self.traits is not None else None


@dataclass(frozen=True)
class _Pass:
    """Series that share a pass.

    Attributes:
        items: their contexts.
        seeds: for families that sample.
        floors: (n,) the least value of each, on the scale of its context; -inf without one.
        beside: (K, T + horizon) of each, T being the length of its context; of one K. Empty without any.
    """

    items: Sequence[Scaled]
    seeds: Sequence[int]
    floors: Floats
    beside: Sequence[Rows] = ()

    @property
    def group(self) -> int:
        """Rows that each series takes."""
        return 1 + len(self.beside[0]) if self.beside else 1

    def split(self, rows: int) -> Iterator[_Pass]:
        """The same series in passes of `rows` at most, or of one series."""
        count = max(1, rows // self.group)
        for start in range(0, len(self.items), count):
            end = start + count
            yield _Pass(self.items[start:end], self.seeds[start:end], self.floors[start:end], self.beside[start:end])


@dataclass(frozen=True)
class _Readable:
    """What a network reads of contexts, by their index.

    Attributes:
        scaled: contexts.
        rows: numbers beside them.
        flat: the value of contexts whose observations are all equal.
        skipped: contexts that can't be forecast.
    """

    scaled: dict[int, Scaled] = field(default_factory=dict)
    rows: dict[int, Rows] = field(default_factory=dict)
    flat: dict[int, float] = field(default_factory=dict)
    skipped: list[Skip] = field(default_factory=list)

    def pass_of(self, batch: Sequence[int], seeds: Sequence[int] | None, bounded: NDArray[np.bool_]) -> _Pass:
        """The series of these indices; `bounded`: of all, whether a forecast must not be below zero."""
        return _Pass(
            [self.scaled[i] for i in batch],
            [seeds[i] if seeds else i for i in batch],
            np.array([self.scaled[i].place(0.0) if bounded[i] else -np.inf for i in batch]),
            [self.rows[i] for i in batch] if len(self.rows.get(batch[0], ())) else (),
        )


@dataclass
class _RowsHeld:
    """Rows of a pass that memory holds: what one finds out holds for the same model at other horizons, too.

    Attributes:
        count: of them.
        alike: by length of contexts, whether passes of more rows gave each the same bits; of those that were tried.
    """

    count: int
    lock: threading.Lock = field(default_factory=threading.Lock)
    alike: dict[int, bool] = field(default_factory=dict)


class Forecaster:
    """A model made ready for one horizon and one set of levels; see the module's notes on reproducibility.

    Args:
        model: from `loading.load_model`.
        horizon: number of periods to forecast.
        levels: ascending quantile levels, within the model's range.
        context_length: number of latest periods to read; the model's own at most, and if not given.
        batch_size: rows of every pass; what suits the device, if not given. Halved where its memory doesn't hold so many.
        workers: number of batches run at once; the process's cores if not given, 1 on a GPU.
        min_observations: series with fewer observations in their context are skipped.
        whole_batches: whether a pass of few series is filled up to `batch_size` rows, so that a forecast's last bits
            don't depend on how many were asked for at once; without it, to the next power of two, which is several times
            quicker for one series and differs by some 1e-6 of a series' deviation. Horizons beyond the model's block
            are always filled up: from block to block such differences were seen to grow a thousandfold.
        compiling: whether the network is compiled first, see `compiling`.
        precision: the least exact numbers that a GPU may multiply in where the network's quantiles hardly differ, see
            `precision`.

    Raises:
        QuantileRangeError: a level is outside of the model's range.
        ValueError: the horizon or another number is below 1.
    """

    def __init__(
        self,
        model: LoadedModel,
        horizon: int,
        levels: Sequence[float],
        *,
        context_length: int | None = None,
        batch_size: int | None = None,
        workers: int | None = None,
        min_observations: int = 1,
        whole_batches: bool = True,
        precision: str = FLOAT32,
        compiling: bool = False,
    ) -> None:
        for name, value in (("context_length", context_length), ("batch_size", batch_size)):
            if value is not None and value < 1:
                raise ValueError(f"{name} is {value}: it must be 1 or more")
        self.model = model
        self._aim(horizon, levels)
        self.context_length = min(context_length or model.description.context_length, model.description.context_length)
        self._rows_held = _RowsHeld(batch_size or default_rows(model, self.context_length))
        self.whole_batches = whole_batches
        self.min_observations = max(1, min_observations)
        self.workers = workers or (1 if model.device.type != "cpu" else usable_cores())
        self._network = adapt(model)
        self._buckets = _bucket_lengths(self.context_length)
        self.compiled = compiling and self._compile()
        self._agreed = self._precision_tried(self._network, precision)
        self.rows_independent = isinstance(self._network, Sampler) or self._rows_tried(self._network)

    def at(self, horizon: int, levels: Sequence[float]) -> Forecaster:
        """The same model made ready for another horizon and other levels, without trying its rows again.

        Raises:
            QuantileRangeError, ValueError: as the constructor.
        """
        other = copy(self)
        other._aim(horizon, levels)
        return other

    def _aim(self, horizon: int, levels: Sequence[float]) -> None:
        if horizon < 1:
            raise ValueError(f"horizon is {horizon}: it must be 1 or more")
        check_quantiles(self.model.description, levels)
        self.horizon = horizon
        self.levels = tuple(levels)

    @property
    def reads_groups(self) -> bool:
        """Whether the network reads rows of numbers beside a series."""
        return isinstance(self._network, Chronos2Network)

    @property
    def unrolled(self) -> bool:
        """Whether the horizon is longer than what the model forecasts at once."""
        return self.horizon > self.model.description.block_length

    @property
    def batch_size(self) -> int:
        """Rows of a pass, as far as is known by now."""
        return self._rows_held.count

    @property
    def precision(self) -> str:
        """In what a GPU multiplies. From block to block differences were seen to grow, so that more than one take float32."""
        return FLOAT32 if self.unrolled else self._agreed

    @property
    def passes(self) -> dict[str, Any]:
        """On what the passes run, as people know it, how many rows they have, and on a GPU in what it multiplies."""
        found = {"device": device_name(self.model), "rows": self.batch_size}
        if self.model.device.type != "cpu":
            found["precision"] = self.precision
        return found | ({"compiled": True} if self.compiled else {})

    @property
    def method(self) -> str:
        """How the quantiles are made, in a sentence."""
        block = self.model.description.block_length
        if isinstance(self._network, Sampler):
            made = f"quantiles of {self.samples} sample paths"
            return f"{made}, each resuming from its own values after every {block} periods" if self.unrolled else made
        if not self.unrolled:
            return "quantiles of the network, in one block"
        return (
            f"blocks of {block} periods; each next one is the mixture of forecasts from {PATHS} weighted paths through "
            "the distribution of those before"
        )

    def forecast(
        self,
        contexts: Sequence[NDArray[np.floating]],
        *,
        seeds: Sequence[int] | None = None,
        groups: Sequence[Hashable] | None = None,
        non_negative: Sequence[bool] | None = None,
        keys: Sequence[tuple[str, ...]] | None = None,
        covariates: Sequence[object] | None = None,
        baseline: Sequence[object] | None = None,
        beside: Sequence[Floats] | None = None,
    ) -> BatchForecast:
        """Forecast the periods that follow each context.

        Args:
            contexts: values of each series up to its last period, (T,); NaN or infinite where nothing was observed.
            seeds: a seed for each series, for families that sample; its index if not given.
            groups: label of each series; where rows are not independent, only series of one label share a batch.
            non_negative: of each series, whether its forecast must not be below zero; none, if not given.
            keys: of each series; only ensembles treat items differently.
            covariates: of each series; only ensembles read them.
            baseline: likewise.
            beside: numbers to read with each series, (K, T + horizon), at its periods and those to forecast; NaN where they
                aren't known.

        Raises:
            TypeError: there are numbers beside series, and the network reads no groups.
        """
        if beside is not None and not self.reads_groups:
            raise TypeError(f"a model of the family {self.model.description.family} reads nothing beside a series")
        count = len(contexts)
        quantiles = np.full((count, self.horizon, len(self.levels)), np.nan)
        mean = np.full((count, self.horizon), np.nan)
        flat = np.zeros(count, dtype=bool)
        crossed = np.zeros(count, dtype=np.int64)
        bounded = np.zeros(count, dtype=bool) if non_negative is None else np.asarray(non_negative, dtype=bool)
        read = self._read(contexts, beside)
        for index, value in read.flat.items():
            flat[index] = True
            quantiles[index] = mean[index] = value
        batches = list(self._batches(read, groups))
        made = self._run_all([read.pass_of(batch, seeds, bounded) for batch in batches])
        for batch, (batch_quantiles, batch_mean, batch_crossed) in zip(batches, made, strict=True):
            items = [read.scaled[index] for index in batch]
            crossed[batch] = batch_crossed
            mean[batch] = restored(items, batch_mean)
            quantiles[batch] = restored(items, batch_quantiles)
        below = np.minimum(quantiles.min(axis=-1, initial=np.inf), mean) < 0
        raised = np.where(bounded, below.sum(axis=1), 0)
        quantiles = np.where(bounded[:, None, None], np.maximum(quantiles, 0.0), quantiles)
        mean = np.where(bounded[:, None], np.maximum(mean, 0.0), mean)
        finite = np.isfinite(quantiles).all(axis=(1, 2)) & np.isfinite(mean).all(axis=1)
        failed = [index for index in read.scaled if not finite[index]]
        quantiles[failed], mean[failed] = np.nan, np.nan
        skipped = sorted([*read.skipped, *(Skip(index, NOT_FINITE) for index in failed)], key=lambda skip: skip.index)
        return BatchForecast(quantiles, mean, tuple(skipped), crossed, flat, raised)

    @property
    def samples(self) -> int:
        """Enough sample paths for four of them to lie beyond the outermost level, from 100 to 400."""
        outermost = min(min(level, 1 - level) for level in self.levels) if self.levels else 0.5
        return int(np.clip(np.ceil(4 / outermost - 1e-9), 100, 400))

    def _read(self, contexts: Sequence[NDArray[np.floating]], beside: Sequence[Floats] | None) -> _Readable:
        """What the network reads of contexts, and of the numbers beside them."""
        read = _Readable()
        sampling = isinstance(self._network, Sampler)
        for index, context in enumerate(contexts):
            values, reason = self._usable(np.asarray(context, dtype=np.float64))
            if reason:
                read.skipped.append(Skip(index, reason))
                continue
            item = scale_only(values) if sampling else standardise(values)
            if item is None:
                read.flat[index] = float(values[np.isfinite(values)][0])
                continue
            read.scaled[index] = item
            if beside is not None:
                read.rows[index] = _scaled_rows(beside[index][:, len(context) - len(values) :], len(values))
        return read

    def _usable(self, context: Floats) -> tuple[Floats, str | None]:
        """The part of a context that the model reads, from its first observation on; or why there is none."""
        values = context[-self.context_length :]
        observed = np.isfinite(values)
        count = np.count_nonzero(observed)
        if not count:
            if np.isfinite(context).any():
                return values, f"no observation in the last {self.context_length} periods, which is all the model reads"
            return values, "no observation"
        if count < self.min_observations:
            return values, f"{count} observations, fewer than the {self.min_observations} asked for"
        if count < len(values):
            values = np.where(observed, values, np.nan)[observed.argmax() :]
        if max(np.fmax.reduce(values), -np.fmin.reduce(values)) > LARGEST:
            return values, f"values beyond {LARGEST:g}"
        return values, None

    def _batches(self, read: _Readable, groups: Sequence[Hashable] | None) -> Iterator[list[int]]:
        """Indices of the series of each pass: of one bucket and as many rows, shortest first, in the order given."""
        together: dict[tuple[Hashable, int, int], list[int]] = defaultdict(list)
        for index, item in read.scaled.items():
            group = groups[index] if groups is not None and not self.rows_independent else None
            together[group, self._bucket(len(item.values)), 1 + len(read.rows.get(index, ()))].append(index)
        for key in sorted(together, key=lambda key: key[1:]):
            members, size = together[key], max(1, self._series_of_a_pass(key[1]) // key[2])
            more = self._more_rows(key[1], len(members)) if key[2] == 1 else size
            whole = len(members) // more * more if more > size else 0
            for start in range(0, whole, more):
                yield members[start : start + more]
            for start in range(whole, len(members), size):
                yield members[start : start + size]

    def _series_of_a_pass(self, bucket: int) -> int:
        if isinstance(self._network, Sampler):
            return min(self.batch_size, self._network.series_at_once(bucket, self.horizon, self.samples))
        return self.batch_size

    def _more_rows(self, bucket: int, series: int) -> int:
        """Rows of the passes of many series whose contexts are short, most of which would be fixed costs; on a CPU.

        Only where rows get the same bits in passes of either kind, which is tried at each length once it pays for itself.
        """
        count, network = self.batch_size, self._network
        more = count * min(MOST_TIMES, FULL // bucket)
        if isinstance(network, Sampler) or self.unrolled or not self.rows_independent:
            return count
        if more <= count or self.model.device.type != "cpu":
            return count
        if bucket not in self._rows_held.alike and series >= _WORTH_TRYING * more:
            self._rows_held.alike[bucket] = self._try_more_rows(network, self._trial_rows(more, bucket))
        return more if self._rows_held.alike.get(bucket) else count

    def _try_more_rows(self, network: QuantileNetwork, rows: torch.Tensor) -> bool:
        """Whether rows have the same bits in one pass as in several of the usual number."""
        with _single_threaded(), multiplying_in(self.precision, self.model.device), torch.inference_mode():
            steps = min(self.horizon, network.block_length)
            parts = [network.block(part, steps) for part in rows.split(self.batch_size)]
            return np.array_equal(network.block(rows, steps), np.concatenate(parts))

    def _bucket(self, length: int) -> int:
        return next(bucket for bucket in self._buckets if bucket >= length)

    def _run_all(self, batches: Sequence[_Pass]) -> Iterator[tuple[Floats, Floats, NDArray[np.int64]]]:
        """What `_run` makes of each batch, in order; of a lone one in this thread, since a new one costs milliseconds."""
        with _single_threaded(), multiplying_in(self.precision, self.model.device):
            if len(batches) == 1:
                yield self._run_what_fits(batches[0])
                return
            with ThreadPoolExecutor(max_workers=self.workers) as pool:
                jobs = [pool.submit(self._run_what_fits, batch) for batch in batches]
                for job in jobs:
                    yield job.result()

    def _run_what_fits(self, batch: _Pass) -> tuple[Floats, Floats, NDArray[np.int64]]:
        """`_run`, in passes of fewer rows where memory doesn't hold as many; these it is from then on."""
        rows = self.batch_size
        alike = self._rows_held.alike.get(self._bucket(max(len(item.values) for item in batch.items)))
        if len(batch.items) * batch.group <= rows * (MOST_TIMES if alike else 1) or len(batch.items) == 1:
            try:
                return self._run(batch)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or rows <= batch.group:
                    raise
            # Outside of the handler, which holds on to the tensors of the pass.
            self._halve(rows)
        made = [self._run_what_fits(part) for part in batch.split(self.batch_size)]
        quantiles, means, crossed = (np.concatenate(parts) for parts in zip(*made, strict=True))
        return quantiles, means, crossed

    def _halve(self, rows: int) -> None:
        """Half as many rows from now on, unless another pass saw to it."""
        with self._rows_held.lock:
            if self._rows_held.count == rows:
                self._rows_held.count = rows // 2
        if self.model.device.type == "cuda":
            torch.cuda.empty_cache()

    def _run(self, batch: _Pass) -> tuple[Floats, Floats, NDArray[np.int64]]:
        """Scaled quantiles (n, horizon, W), means (n, horizon) and number of crossed periods (n,) of one batch.

        The means are those of distributions that end at the floors; the quantiles are as the model gave them.
        """
        items = batch.items
        with torch.inference_mode(), multiplying_in(self.precision, self.model.device):
            bucket = self._bucket(max(len(item.values) for item in items))
            if isinstance(self._network, Sampler):
                paths = self._network.paths(
                    [item.values for item in items],
                    self.horizon,
                    self.samples,
                    batch.seeds,
                    width=bucket,
                    rows=self._series_of_a_pass(bucket) if self.whole_batches else 0,
                )  # (n, S, horizon)
                return (
                    np.quantile(paths, self.levels, axis=1).transpose(1, 2, 0),
                    np.maximum(paths, batch.floors[:, None, None]).mean(axis=1),
                    np.zeros(len(items), dtype=np.int64),
                )
            rows, known = self._filled(batch, bucket)
            network = self._network
            if batch.beside and isinstance(network, Chronos2Network):
                network = network.beside(torch.from_numpy(known), batch.group)
            raw = unroll(network, torch.from_numpy(rows), self.horizon, self.context_length)
            raw = raw[: len(items) * batch.group : batch.group]
        ordered, crossed = sort_quantiles(raw)
        wanted = interpolate(ordered, self._network.levels, self.levels)
        mean = mean_of_quantiles(ordered, self._network.levels)
        for row in np.flatnonzero((ordered[..., 0] < batch.floors[:, None]).any(axis=-1)).tolist():
            mean[row] += shortfall(ordered[row], self._network.levels, batch.floors[row])
        return wanted, mean, crossed.sum(axis=1)

    def _filled(self, batch: _Pass, bucket: int) -> tuple[Rows, Rows]:
        """The rows (R, bucket) of a pass, groups one after another, and what is known of each ahead (R, horizon)."""
        group = batch.group
        rows = np.zeros((self._groups(len(batch.items), group) * group, bucket), dtype=np.float32)
        known = np.full((len(rows), self.horizon), np.nan, dtype=np.float32)
        for place, item in enumerate(batch.items):
            first, last, length = place * group, (place + 1) * group, len(item.values)
            rows[first:last, : bucket - length] = np.nan
            rows[first, bucket - length :] = item.values
            if batch.beside:
                rows[first + 1 : last, bucket - length :] = batch.beside[place][:, :length]
                known[first + 1 : last] = batch.beside[place][:, length:]
        return rows, known

    def _groups(self, count: int, group: int) -> int:
        """Groups of a pass of `count` series."""
        most = max(1, self.batch_size // group)
        if count > most:  # see `_more_rows`
            return count
        return most if self.whole_batches or self.unrolled else min(most, 1 << (count - 1).bit_length())

    def _compile(self) -> bool:
        """Go on with a compiled network, if it can be."""
        if isinstance(self._network, Sampler):
            return False
        rows = self._trial_rows(self.batch_size, self.context_length)  # of the shape that passes have
        network = compiled(self._network, rows, min(self.horizon, self._network.block_length))
        self._network = network or self._network
        return network is not None

    def _precision_tried(self, network: QuantileNetwork | Sampler, least: str) -> str:
        """What the device may multiply in: of a network that is neither trained meanwhile nor draws its forecasts."""
        allowed = precisions_of(self.model.device)[: PRECISIONS.index(least) + 1]
        if self.model.network is None or isinstance(network, Sampler) or allowed == (FLOAT32,):
            return FLOAT32
        rows = self._trial_rows(min(FEWEST, self.batch_size))
        # What grows moves furthest: on the bundled model more than twice as far as what is level.
        growth = torch.linspace(0.0, 3.0, rows.shape[1]).exp()
        rows[1::2] = 0.1 * rows[1::2] + (growth - growth.mean()) / growth.std()
        return agreed_precision(network, rows, network.block_length, self.model.device, allowed)

    def _trial_rows(self, count: int, longest: int = 256) -> torch.Tensor:
        """Rows to try a network with, (count, T)."""
        length = self._bucket(min(longest, self.context_length))
        return torch.from_numpy(np.random.default_rng(0).normal(size=(count, length)).astype(np.float32))

    def _rows_tried(self, network: QuantileNetwork) -> bool:
        """`_try_rows` with as many rows as memory holds, in every precision that passes may have."""
        while True:
            rows = self.batch_size
            try:
                return all(self._try_rows(network, precision) for precision in dict.fromkeys((FLOAT32, self._agreed)))
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error) or rows == 1:
                    raise
            self._halve(rows)

    def _try_rows(self, network: QuantileNetwork, precision: str = FLOAT32) -> bool:
        """Whether a row's bits are the same at any place and beside any neighbours, in this model on this machine."""
        rows = self._trial_rows(self.batch_size)
        with _single_threaded(), multiplying_in(precision, self.model.device), torch.inference_mode():
            steps = min(self.horizon, network.block_length)
            reference = network.block(rows, steps)
            reversed_order = network.block(rows.flip(0).contiguous(), steps)
            rows[1:] = 0.0
            alone = network.block(rows, steps)
        return np.array_equal(reference, reversed_order[::-1]) and np.array_equal(reference[0], alone[0])


@contextmanager
def _single_threaded() -> Iterator[None]:
    """One thread for each pass; what was set before is put back."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _scaled_rows(rows: Floats, length: int) -> Rows:
    """Those of the rows (K, T + horizon) that vary at the first `length` periods, each on its scale there."""
    kept = []
    for row in np.where(np.isfinite(rows), rows, np.nan):
        scale = standardise(row[:length]) if np.isfinite(row[:length]).any() else None
        if scale is not None:
            kept.append(scale.apply(row))
    return np.stack(kept) if kept else np.empty((0, rows.shape[1]), dtype=np.float32)


def _bucket_lengths(longest: int) -> list[int]:
    """Lengths that contexts are padded to, ascending: 16, 24, 32, 48, 64, ... and the longest."""
    lengths: list[int] = []
    length = _SHORTEST_BUCKET
    while length < longest:
        lengths += [length, length + length // 2]
        length *= 2
    return [*(value for value in lengths if value < longest), longest]
