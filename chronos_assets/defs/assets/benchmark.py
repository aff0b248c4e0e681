"""Group evaluation: base models on the Chronos paper's benchmark."""

import dagster as dg

from chronos_assets.defs.benchmark_metadata import benchmark_metadata
from chronos_assets.defs.failures import failures
from chronos_assets.pipeline.benchmark import run_benchmark
from chronos_assets.pipeline.group import Group
from chronos_assets.store_layout import BENCHMARK_KEY

ZERO_SHOT_BENCHMARK = """Base models on the data sets of the Chronos paper, as the paper measures them.

wQL and MASE of each model on each set, relative to seasonal naive with GluonTS's season, and their geometric means over
the zero-shot sets; coverage of the 80% band, seconds and series per second; the paper's figure redrawn. Beside the
configured models (`CHRONOS_BENCHMARK_MODELS`, else the base model) and the bundled one: seasonal naive, AutoETS and
AutoTheta where the extra `baselines` is installed, on some of the series of large sets. Scores that chronos-forecasting
published are drawn beside them, and labelled so.

The sets come from `CHRONOS_BENCHMARK_DATA`, a folder, or from the Hugging Face Hub. Results are kept: a run that was
killed continues with the set that it was at, and only new models are measured. Nothing is ever trained on these series.
"""


def benchmark_assets(group: Group) -> list[dg.AssetsDefinition]:
    """`zero_shot_benchmark`."""

    @dg.asset(
        key=group.key("zero_shot_benchmark"),
        group_name="evaluation",
        description=ZERO_SHOT_BENCHMARK,
        owners=group.settings.owners,
        kinds={"pytorch", "matplotlib"},
        metadata={"dagster/uri": f"{group.settings.store}/{BENCHMARK_KEY}"},
        pool=group.named("benchmark"),
    )
    def zero_shot_benchmark(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        with failures():
            made = run_benchmark(group, context)
            return dg.MaterializeResult(
                metadata=benchmark_metadata(group, made), data_version=dg.DataVersion(made.data_version)
            )

    return [zero_shot_benchmark]
