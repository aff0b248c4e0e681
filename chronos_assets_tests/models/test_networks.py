"""The slim networks compute what the library's do, on the weights of the library's own checkpoints."""

import json
import subprocess
import sys

import pytest
import torch

from chronos_assets.models.families import adapt
from chronos_assets.models.loading import load_model
from chronos_assets.models.networks.bolt import Bolt
from chronos_assets.models.networks.chronos2 import Chronos2
from chronos_assets.models.networks.t5_layers import distance_classes
from chronos_assets_tests.models import tiny


def contexts(length: int) -> torch.Tensor:
    """Walks with a late start, a gap, a constant, and nothing at all."""
    rows = torch.randn(6, length, generator=torch.Generator().manual_seed(3)).cumsum(dim=1)
    rows[1, : length // 2] = torch.nan
    rows[2, length // 3 : length // 2] = torch.nan
    rows[3] = 4.0
    rows[4] = torch.nan
    return rows


@pytest.mark.parametrize("length", [3, 16, 50, 64, 75])  # shorter and longer than a patch and than the whole context
@pytest.mark.parametrize("reference", ["bundled", "bolt"])
def test_bolt_is_the_librarys(reference, length):
    model = load_model(reference if reference == "bundled" else tiny.folder_of("bolt"), "cpu")
    assert isinstance(model.network, Bolt)
    rows = contexts(length * (8 if reference == "bundled" else 1))
    with torch.inference_mode():
        torch.testing.assert_close(
            model.network(rows), model.pipeline.model(context=rows).quantile_preds, rtol=1e-6, atol=1e-6
        )


@pytest.mark.parametrize("length", [3, 16, 50, 64, 75])
def test_chronos2_is_the_librarys(length):
    model = load_model(tiny.folder_of("chronos2"), "cpu")
    assert isinstance(model.network, Chronos2)
    rows = contexts(length)
    with torch.inference_mode():
        theirs = model.pipeline.model(context=rows, group_ids=torch.arange(len(rows)), num_output_patches=2)
        torch.testing.assert_close(model.network(rows, 2), theirs.quantile_preds, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bidirectional_buckets", [8, 32, 264])
def test_distances_are_classed_as_t5_does(bidirectional_buckets):
    from transformers.models.t5.modeling_t5 import T5Attention

    distances = torch.arange(-300, 301)
    expected = T5Attention._relative_position_bucket(distances, num_buckets=bidirectional_buckets, max_distance=132)
    assert torch.equal(distance_classes(distances, bidirectional_buckets, 132), expected)


@pytest.mark.parametrize("family", ["bolt", "chronos2"])
def test_a_variant_without_a_slim_network_is_the_librarys(family, tmp_path):
    folder = {"bolt": tiny.save_bolt, "chronos2": tiny.save_chronos2}[family](tmp_path / "model")
    slim = adapt(load_model(folder, "cpu"))
    config = json.loads((folder / "config.json").read_text())
    config["feed_forward_proj"] = config["dense_act_fn"] = "gelu_new"
    (folder / "config.json").write_text(json.dumps(config))
    model = load_model(folder, "cpu")
    assert model.network is None
    rows = contexts(40)[:4]
    with torch.inference_mode():
        given, other = adapt(model).block(rows, 12), slim.block(rows, 12)
    assert given.shape == other.shape
    assert abs(given - other).max() > 0  # another activation is another forecast


def test_a_forecast_imports_neither_library():
    code = (
        "import sys, numpy as np\n"
        "from chronos_assets.models.forecasting import Forecaster\n"
        "from chronos_assets.models.loading import load_model\n"
        "Forecaster(load_model(device='cpu'), 12, (0.1, 0.5, 0.9)).forecast([np.arange(40.0)])\n"
        "print(*sorted({'chronos', 'transformers', 'accelerate', 'torch._dynamo', 'pandas'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
