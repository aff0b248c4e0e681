"""KernelSynth beside scikit-learn's kernels: the bank, the law of expressions, and the covariance of the draws."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
import pytest

from chronos_assets.kernelsynth import bank, harmonics, terms
from chronos_assets.kernelsynth.bank import (
    BANK,
    RBF,
    Constant,
    DotProduct,
    ExpSineSquared,
    Kernel,
    RationalQuadratic,
    White,
)
from chronos_assets.kernelsynth.expressions import Expression, Term, draw_expression
from chronos_assets.kernelsynth.sampler import draw_values

if TYPE_CHECKING:
    from sklearn.gaussian_process import kernels as reference

TOLERANCE = 1e-9  # of any entry of a covariance matrix, relative to the matrix's largest variance


def reference_kernel(kernel: Kernel, length: int) -> reference.Kernel:
    from sklearn.gaussian_process import kernels as reference

    match kernel:
        case ExpSineSquared(period):
            return reference.ExpSineSquared(periodicity=period / length)
        case RBF(length_scale):
            return reference.RBF(length_scale)
        case RationalQuadratic(alpha):
            return reference.RationalQuadratic(alpha=alpha)
        case DotProduct(sigma_0):
            return reference.DotProduct(sigma_0)
        case White(noise_level):
            return reference.WhiteKernel(noise_level)
        case Constant():
            return reference.ConstantKernel()


def reference_covariance(expression: Expression, length: int) -> np.ndarray:
    kernels = [reference_kernel(kernel, length) for kernel in expression.kernels]
    combined = kernels[0]
    for operator, kernel in zip(expression.operators, kernels[1:], strict=True):
        combined = combined + kernel if operator == "+" else combined * kernel
    return combined(np.linspace(0, 1, length)[:, None])


def drawn_covariance(expression: Expression, length: int) -> np.ndarray:
    """The covariance that draws have, from the very map that makes them: fed with one unit vector after another."""
    covariance = np.zeros((length, length))
    for term in expression.expand():
        factor = terms.factorise(term, length)
        for start in range(0, factor.size, 512):
            rows = np.arange(min(512, factor.size - start))
            normals = np.zeros((len(rows), factor.size))
            normals[rows, start + rows] = 1.0
            images = factor.draw(normals)
            covariance += images.T @ images
    return covariance


def error(expression: Expression, length: int) -> float:
    wanted = reference_covariance(expression, length)
    return float(np.abs(drawn_covariance(expression, length) - wanted).max() / wanted.max())


def product(*kernels: Kernel) -> Expression:
    return Expression(kernels, ("*",) * (len(kernels) - 1))


def test_the_bank_is_the_papers():
    assert Counter(type(kernel).__name__ for kernel in BANK) == {
        "ExpSineSquared": 21, "DotProduct": 3, "RBF": 3, "RationalQuadratic": 3, "White": 2, "Constant": 1,
    }  # fmt: skip
    periods = [kernel.period for kernel in BANK if isinstance(kernel, ExpSineSquared)]
    assert periods == [24, 48, 96, 168, 336, 672, 7, 14, 30, 60, 365, 730, 4, 26, 52, 4, 6, 12, 4, 40, 10]


@pytest.mark.process
@pytest.mark.parametrize("length", [2, 3, 37, 256])
@pytest.mark.parametrize("kernel", sorted(set(BANK), key=str), ids=str)
def test_each_kernel_of_the_bank_is_scikit_learns(kernel, length):
    assert error(Expression((kernel,)), length) < TOLERANCE


def random_expressions(count: int, max_kernels: int, seed: int) -> Iterator[Expression]:
    rng = np.random.default_rng(seed)
    return (draw_expression(rng, max_kernels) for _ in range(count))


@pytest.mark.process
def test_the_covariance_of_150_random_expressions_is_scikit_learns():
    expressions = list(dict.fromkeys(random_expressions(200, 5, seed=20)))[:150]
    errors = {str(expression): error(expression, 128) for expression in expressions}
    assert len(errors) == 150
    worst = max(errors, key=lambda text: errors[text])
    assert errors[worst] < TOLERANCE, worst


@pytest.mark.process
def test_the_covariance_is_scikit_learns_at_the_papers_length():
    errors = {str(expression): error(expression, 1024) for expression in random_expressions(12, 3, seed=4)}
    assert max(errors.values()) < TOLERANCE, errors


@pytest.mark.process
@pytest.mark.parametrize(
    "kernels",
    [
        (ExpSineSquared(4),) * 3,
        (ExpSineSquared(4), ExpSineSquared(730), ExpSineSquared(4)),
        (RBF(0.1),) * 5,
        (RationalQuadratic(0.1),) * 3,
        (DotProduct(10),) * 5,
        (DotProduct(0),) * 5,
        (DotProduct(0), RBF(0.1), ExpSineSquared(24), DotProduct(10)),
        (White(0.1), DotProduct(1), White(0.1), ExpSineSquared(7)),
        (Constant(), Constant()),
        (Constant(), ExpSineSquared(7), Constant()),
        # Enough harmonics that a dense factorisation is cheaper.
        tuple(ExpSineSquared(period) for period in (7, 30, 52, 365, 40)),
        tuple(ExpSineSquared(period) for period in (7, 30, 52, 365, 40, 6, 10)),
    ],
    ids=lambda kernels: " * ".join(map(str, kernels)),
)
def test_products_with_powers_and_many_factors_keep_their_covariance(kernels):
    assert error(product(*kernels), 300) < TOLERANCE


def test_a_large_dense_factor_serves_only_where_harmonics_are_too_many():
    def kind(*kernels: Kernel) -> str:
        return type(terms.factorise(kernels, 1024)).__name__

    seasons = [ExpSineSquared(period) for period in (7, 30, 52, 365, 40)]
    assert [kind(*seasons[:count]) for count in (1, 2, 3, 4)] == ["_Product", *["_Harmonics"] * 3]
    assert kind(*seasons[:3], RBF(0.1)) == "_Harmonics"
    assert terms.factorise(tuple(seasons), 1024).size == 1024


@pytest.mark.process
@pytest.mark.parametrize("periods", [(7, 30, 52, 365), (4, 4, 6, 730), (24, 48, 96)])
@pytest.mark.parametrize("length", [64, 257])
def test_sums_of_many_harmonics_are_the_product_of_their_kernels(periods, length):
    frequencies, weights = harmonics.spectrum(periods, length)
    steps = np.arange(length)
    covariance = weights @ np.cos(np.outer(frequencies, steps))
    expression = product(*(ExpSineSquared(period) for period in periods))
    assert np.abs(covariance - reference_covariance(expression, length)[0]).max() < TOLERANCE

    rng = np.random.default_rng(1)
    real, imaginary = rng.standard_normal((2, 2, len(weights)))
    angles = np.outer(frequencies, steps - length // 2)
    wanted = (np.sqrt(weights) * real) @ np.cos(angles) - (np.sqrt(weights) * imaginary) @ np.sin(angles)
    made = harmonics.harmonic_sum(periods, length).evaluate(real, imaginary)
    assert np.abs(made - wanted).max() < 1e-10


def test_harmonics_evaluated_in_blocks_are_the_same(monkeypatch):
    plan = harmonics.harmonic_sum((7, 24), 100)
    amplitudes = np.random.default_rng(0).standard_normal((2, 5, plan.harmonics))
    whole = plan.evaluate(*amplitudes)
    monkeypatch.setattr(harmonics, "_TAPS_AT_ONCE", 2 * plan.taps.size)
    assert np.array_equal(plan.evaluate(*amplitudes), whole)


def test_expressions_combine_from_left_to_right():
    a, b, c = RBF(0.1), White(1), DotProduct(10)
    assert Expression((a, b, c), ("+", "*")).expand() == [(a, c), (b, c)]
    assert Expression((a, b, c), ("*", "+")).expand() == [(a, b), (c,)]
    assert str(Expression((a, b, c), ("+", "*"))) == "(RBF(0.1) + White(1)) * DotProduct(10)"
    assert str(Expression((a, b, c), ("*", "+"))) == "RBF(0.1) * White(1) + DotProduct(10)"
    assert str(Expression((a, b, c), ("*", "*"))) == "RBF(0.1) * White(1) * DotProduct(10)"
    assert str(Expression((Constant(),))) == "Constant"
    with pytest.raises(ValueError, match="2 kernels with 0 operators"):
        Expression((a, b))


@pytest.mark.process
def test_an_expressions_text_is_its_formula():
    """Python gives + and * the precedence that readers give them, so the text must evaluate to the same kernel."""
    names = {kind.__name__: functools.partial(_reference_of, kind) for kind in (*BANK_TYPES, Constant)}
    for expression in random_expressions(40, 5, seed=8):
        text = str(expression).replace("Constant", "Constant()")
        combined = eval(text, names)  # noqa: S307 - written by the code under test
        assert np.array_equal(combined(np.linspace(0, 1, 20)[:, None]), reference_covariance(expression, 20))


BANK_TYPES = (ExpSineSquared, RBF, RationalQuadratic, DotProduct, White)


def _reference_of(kind: type, *arguments: float) -> reference.Kernel:
    return reference_kernel(kind(*arguments), 20)


@pytest.mark.process
def test_kernels_counts_and_operators_are_equally_likely():
    count = 20_000
    drawn = list(random_expressions(count, 5, seed=3))
    sizes = Counter(len(expression.kernels) for expression in drawn)
    # Within five standard deviations of each expected count.
    assert all(abs(sizes[size] - count / 5) < 5 * np.sqrt(count * 0.16) for size in range(1, 6))
    assert set(sizes) == {1, 2, 3, 4, 5}
    operators = Counter(operator for expression in drawn for operator in expression.operators)
    assert abs(operators["+"] - operators["*"]) < 5 * np.sqrt(operators.total())
    kernels = Counter(kernel for expression in drawn for kernel in expression.kernels)
    for kernel, times in Counter(BANK).items():
        expected = kernels.total() * times / 33
        assert abs(kernels[kernel] - expected) < 5 * np.sqrt(expected), kernel
    assert {len(expression.kernels) for expression in random_expressions(50, 1, seed=3)} == {1}


LAWS = [
    Expression((ExpSineSquared(7), White(0.1)), ("+",)),
    Expression((RBF(0.1), ExpSineSquared(12), DotProduct(1)), ("+", "*")),
    Expression((ExpSineSquared(4), ExpSineSquared(10), RationalQuadratic(0.1)), ("*", "+")),
    Expression((White(1), DotProduct(1), DotProduct(1)), ("*", "+")),
    product(*(ExpSineSquared(period) for period in (7, 30, 52, 365, 40))),
]


@pytest.mark.process
@pytest.mark.parametrize("expression", LAWS, ids=str)
def test_draws_have_the_mean_and_covariance_of_the_law(expression):
    count, length = 3000, 24
    rng = np.random.default_rng(11)
    draws = np.array([draw_values(rng, expression, length) for _ in range(count)])
    wanted = reference_covariance(expression, length)
    variance = wanted.diagonal()
    # Standard errors of a mean, and of the second moment of two Gaussians (Isserlis' theorem).
    assert np.all(np.abs(draws.mean(axis=0)) < 5 * np.sqrt(variance / count))
    deviation = np.sqrt((np.outer(variance, variance) + wanted**2) / count)
    assert np.all(np.abs(draws.T @ draws / count - wanted) < 5 * deviation)
    # Gaussian tails: the share beyond two standard deviations is 4.55 %, in dependent points.
    beyond = np.abs(draws[:, -1] / np.sqrt(variance[-1])) > 2
    assert abs(beyond.mean() - 0.0455) < 5 * np.sqrt(0.0455 / count)


def test_factors_of_low_rank_are_kept_and_cannot_be_written_to():
    term: Term = (RBF(1.0), DotProduct(1))
    first = terms.smooth_rows(term, 64)
    assert terms.smooth_rows(term, 64) is first
    with pytest.raises(ValueError, match="read-only"):
        first[0, 0] = 1.0
    assert len(first) < 16


def test_the_grid_spans_zero_to_one():
    assert np.array_equal(bank.grid(5), [0, 0.25, 0.5, 0.75, 1])
