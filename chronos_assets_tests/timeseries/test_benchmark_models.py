"""Which models are measured, under which names."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError

import pytest

from chronos_assets.benchmark import models as benchmark_models
from chronos_assets.benchmark.models import chronos_contender, local_contenders, with_unique_names


def test_seasonal_naive_is_always_measured_and_libraries_where_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "statsforecast":
            return "2.0"
        raise PackageNotFoundError(name)

    monkeypatch.setattr(benchmark_models, "version", version)
    assert [(item.name, item.kind) for item in local_contenders()] == [
        ("Seasonal naive", "local statistical"),
        ("AutoETS", "local statistical"),
        ("AutoTheta", "local statistical"),
    ]
    assert local_contenders()[1].version == "statsforecast 2.0"
    assert [item.name for item in local_contenders(optional=False)] == ["Seasonal naive"]


def test_only_ours_and_naive_are_measured_on_every_series() -> None:
    assert chronos_contender("bundled", "d", ours=True).max_series is None
    limits = {item.name: (item.max_series, item.max_history) for item in local_contenders()}
    assert limits.pop("Seasonal naive") == (None, None)
    assert all(series for series, _ in limits.values())


def test_models_are_named_by_the_last_part_and_distinguished() -> None:
    models = [
        chronos_contender("bundled", "0" * 64, ours=True),
        chronos_contender("amazon/chronos-bolt-tiny", "1" * 64, ours=False),
        chronos_contender("/models/one/best", "2" * 64, ours=True),
        chronos_contender("/models/two/best", "3" * 64, ours=False),
        chronos_contender("/copy/of/bundled-model", "0" * 64, ours=False),
    ]
    named = with_unique_names(models)
    assert [item.name for item in named] == ["bundled", "chronos-bolt-tiny", "best 222222", "best 333333"]
    assert [item.kind for item in named] == ["ours", "foundation", "ours", "foundation"]
