"""What an endpoint of a group serves, as far as it follows from the group's state."""

from types import SimpleNamespace

import pytest

from chronos_assets.pipeline import serving
from chronos_assets.pipeline.model_in_use import ModelInUse

SETUP = SimpleNamespace(params=None, quantiles=("0.5",), horizon=7)
VERSION = ModelInUse("Shop/1", "models/1", "m", predictor="p")


def test_bands_are_widened_as_in_the_published_forecast(monkeypatch: pytest.MonkeyPatch) -> None:
    state = SimpleNamespace(group=None, setup=SETUP, model_in_use=VERSION)
    narrow, wide = (serving.served_identity("m", "Shop/1", SETUP, "p", width) for width in (1.0, 1.25))
    assert narrow != wide
    for made_by, identity in (("m", wide), ("another", narrow)):
        manifest = {"model": {"digest": made_by}, "live": {"width": 1.25}}
        monkeypatch.setattr(serving, "published_manifest", lambda _group, manifest=manifest: manifest)
        assert serving.wanted_identity(state) == identity
    assert serving.server_parameters(SETUP, 1.25)["live_width"] == 1.25


def test_a_version_that_comes_into_use_during_a_deployment_is_served(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["Shop/2", "Shop/1", "Shop/1"]  # rolled back while version 2 was deployed
    states = [
        SimpleNamespace(group=None, model_in_use=ModelInUse(name, f"models/{name[-1]}", name[-1])) for name in names
    ]
    later, served = iter(states[1:]), []
    monkeypatch.setattr(serving, "GroupState", lambda _group: next(later))
    monkeypatch.setattr(serving, "_deploy", lambda state, _log: served.append(state.model_in_use.label) or served[-1])
    assert serving.deploy(states[0], SimpleNamespace(info=lambda _text: None)) == "Shop/1"
    assert served == ["Shop/2", "Shop/1"]
    assert next(later, None) is None
