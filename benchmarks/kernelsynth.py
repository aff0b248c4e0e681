"""KernelSynth: series per second beside the procedure of the paper.

    python benchmarks/kernelsynth.py [--repeats 5] [--threads 1] [--length 1024]

The reference does what the paper's script does for a series: 1 to 5 of scikit-learn's kernels, combined at random, and
one draw by `GaussianProcessRegressor.sample_y`, which factorises the covariance matrix. Both sides draw expressions from
the same law; repeats alternate, and the ratio is of the medians.

Exits with 1 when ours is not `--limit` times as fast.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable

LIMIT = 300.0


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--reference-series", type=int, default=8, help="per repeat")
    parser.add_argument("--series", type=int, default=600, help="ours, per repeat")
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=1, help="of the linear algebra library, for both")
    parser.add_argument("--limit", type=float, default=LIMIT)
    options = parser.parse_args()
    os.environ["OPENBLAS_NUM_THREADS"] = str(options.threads)  # before numpy is loaded

    from chronos_assets.kernelsynth.sampler import iter_series

    def ours(repeat: int, count: int) -> None:
        for _ in iter_series(((repeat, number) for number in range(count)), seed=0, length=options.length):
            pass

    reference = reference_sampler(options.length)
    reference(0, 1)  # loads its libraries
    rates: dict[str, list[float]] = {"reference": [], "ours": []}
    for repeat in range(options.repeats):
        rates["reference"].append(rate(reference, repeat, options.reference_series))
        rates["ours"].append(rate(ours, repeat, options.series))
    for name, values in rates.items():
        spread = f"{min(values):.1f} to {max(values):.1f} in {len(values)} repeats"
        print(f"{name}: {statistics.median(values):.1f} series per second (median; {spread})")
    ratio = statistics.median(rates["ours"]) / statistics.median(rates["reference"])
    print(f"ratio: {ratio:.0f} at length {options.length}, {options.threads} thread(s)")
    return int(ratio < options.limit)


def rate(make: Callable[[int, int], None], repeat: int, count: int) -> float:
    """Series per second."""
    started = time.perf_counter()
    make(repeat, count)
    return count / (time.perf_counter() - started)


def reference_sampler(length: int) -> Callable[[int, int], None]:
    """A function that draws series as the paper's script does, from scikit-learn's kernels."""
    import numpy as np
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process import kernels as sk

    from chronos_assets.kernelsynth.bank import PERIODS

    bank = [
        *(sk.ExpSineSquared(periodicity=period / length) for period in PERIODS),
        *(sk.DotProduct(sigma_0=value) for value in (0.0, 1.0, 10.0)),
        *(sk.RBF(length_scale=value) for value in (0.1, 1.0, 10.0)),
        *(sk.RationalQuadratic(alpha=value) for value in (0.1, 1.0, 10.0)),
        *(sk.WhiteKernel(noise_level=value) for value in (0.1, 1.0)),
        sk.ConstantKernel(),
    ]
    inputs = np.linspace(0, 1, length)[:, None]

    def draw(repeat: int, count: int) -> None:
        rng = np.random.default_rng(repeat)
        for number in range(count):
            chosen = [bank[index] for index in rng.integers(len(bank), size=rng.integers(1, 6))]
            kernel = chosen[0]
            for other in chosen[1:]:
                kernel = kernel + other if rng.random() < 0.5 else kernel * other
            GaussianProcessRegressor(kernel=kernel).sample_y(inputs, n_samples=1, random_state=number)

    return draw


if __name__ == "__main__":
    sys.exit(main())
