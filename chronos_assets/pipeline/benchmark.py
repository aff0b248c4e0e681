"""What `zero_shot_benchmark` does, as functions of a `Group`: measure what isn't measured yet, and publish.

Here: which models and sets there are, and where results are kept. Forecasting and scoring are the workload's
(`workloads.zero_shot`); protocol, results and picture are in `chronos_assets.benchmark`; what the UI shows is in
`defs.benchmark_metadata`.

**Resuming.** There is a job per set, which measures the models whose results on it are not kept yet. Each result is put
under `.benchmark/` once its job is done, under the digest of everything that it follows from (protocol, set, model): a
benchmark that was killed continues with the set that it was at, and a new model is measured without the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from chronos_assets.benchmark.scores import Contender, Result, read_published
from chronos_assets.benchmark.tasks import BenchmarkError
from chronos_assets.models.checkpoints import BUNDLED, describe_model
from chronos_assets.pipeline.group import Group
from chronos_assets.pipeline.staging import staging
from chronos_assets.platforms.jobs import JobRequest, job_name
from chronos_assets.store_layout import BENCHMARK_KEY, MEASURED_KEY
from chronos_assets.system import text_digest

if TYPE_CHECKING:
    from chronos_assets.benchmark.data import BenchmarkData


@dataclass(frozen=True)
class Benchmark:
    """What a run came to.

    Attributes:
        results: measured ones, by set, then in order of the models. published: those of other people, on the same sets.
        identities: of the measured results, in their order. kept: how many of them an earlier run had measured.
    """

    results: tuple[Result, ...]
    published: tuple[Result, ...]
    identities: tuple[str, ...]
    kept: int

    @property
    def data_version(self) -> str:
        """Digest of what was measured on what."""
        return text_digest("\n".join(self.identities))


def run_benchmark(group: Group, context: dg.AssetExecutionContext) -> Benchmark:
    """Measure every model on every set, unless an earlier run has, and publish tables and figure.

    Raises:
        ChronosAssetsError: there is no data, a model can't be had, or a job failed; results of finished sets are kept.
    """
    from chronos_assets.benchmark.data import open_data

    source = group.settings.benchmark_data
    data = open_data(source)
    contenders = find_contenders(group)
    published = read_published(Path(source).expanduser(), data.tasks) if source and Path(source).is_dir() else []
    measured, kept = _measure_all(group, context, data, contenders)
    made = Benchmark(tuple(measured.values()), tuple(published), tuple(measured), kept)
    _publish(group, made)
    return made


def find_contenders(group: Group) -> list[Contender]:
    """The models to measure: the configured ones (or else the base model), the bundled one, and the local ones.

    Raises:
        ModelError: a configured model can't be had.
    """
    from chronos_assets.benchmark.models import chronos_contender, local_contenders, with_unique_names

    references = dict.fromkeys([*(group.settings.benchmark_models or (group.settings.base_model,)), BUNDLED])
    chronos = [
        chronos_contender(reference, describe_model(reference).digest, ours=_is_ours(group, reference))
        for reference in references
    ]
    return with_unique_names([*chronos, *local_contenders()])


def _is_ours(group: Group, reference: str) -> bool:
    """Whether a model was trained here: the bundled one, and what `tuned_checkpoints` left in the store."""
    models = Path(group.place("models")).resolve()
    return reference == BUNDLED or models in Path(reference).expanduser().resolve().parents


def _measure_all(
    group: Group, context: dg.AssetExecutionContext, data: BenchmarkData, contenders: Sequence[Contender]
) -> tuple[dict[str, Result], int]:
    """Results by their identity, and how many were kept from before."""
    found: dict[str, Result] = {}
    kept = 0
    for number, (name, task) in enumerate(data.tasks.items(), 1):
        digest = data.digest(name)
        wanted = {contender.identity(task, digest): contender for contender in contenders}
        present = {
            identity: result
            for identity in wanted
            if (result := _kept_result(group, identity, context.log)) is not None
        }
        missing = {identity: wanted[identity] for identity in wanted if identity not in present}
        kept += len(present)
        if missing:
            context.log.info(f"set {number} of {len(data.tasks)}, {name}: {len(missing)} models to measure")
            present |= _measure_set(group, context, name, missing)
        found |= {identity: _renamed(present[identity], contender) for identity, contender in wanted.items()}
    context.log.info(f"{len(found)} results, {kept} of them kept from an earlier run")
    return found, kept


def _measure_set(
    group: Group, context: dg.AssetExecutionContext, name: str, contenders: Mapping[str, Contender]
) -> dict[str, Result]:
    source = group.settings.benchmark_data
    request = JobRequest(
        workload="zero_shot",
        name=job_name("zero-shot", *group.settings.key_prefix, name),
        parameters={
            "set": name,
            "data": str(Path(source).expanduser().resolve()) if Path(source).is_dir() else source,
            "models": [_located(contender) for contender in contenders.values()],
        },
        outputs=("results",),
    )
    results = {}
    with group.jobs.run(context, request) as job:
        for number, identity in enumerate(contenders):
            text = (job.outputs["results"] / f"{number}.json").read_bytes()
            results[identity] = Result.from_json(text)
            group.store.put(_kept_key(identity), text)
    return results


def _located(contender: Contender) -> dict[str, Any]:
    """A contender as the workload gets it, which runs in another folder: a relative path would lead elsewhere."""
    document = asdict(contender)
    folder = Path(contender.reference).expanduser()
    if contender.reference and not contender.reference.startswith("amazon/") and (folder / "config.json").is_file():
        document["reference"] = str(folder.resolve())
    return document


def _kept_result(group: Group, identity: str, log: Any) -> Result | None:
    try:
        return Result.from_json(group.store.get(_kept_key(identity)))
    except FileNotFoundError:
        return None
    except BenchmarkError as error:
        log.warning(f"{group.store.uri(_kept_key(identity))} is measured again: {error}")
        return None


def _renamed(result: Result, contender: Contender) -> Result:
    """A kept result under the name and kind that its model has now."""
    return replace(result, model=contender.name, kind=contender.kind)


def _kept_key(identity: str) -> str:
    return f"{MEASURED_KEY}/{identity[:32]}.json"


def _publish(group: Group, made: Benchmark) -> None:
    """Write `benchmark/`: results.csv, aggregate.csv, figure.png, figure.svg."""
    from chronos_assets.benchmark.report import write_report

    with staging(group) as folder:
        staged = folder / BENCHMARK_KEY
        write_report(staged, made.results, made.published)
        group.store.publish(BENCHMARK_KEY, staged)
