"""Checkpoints of every family become networks that have all of their own weights."""

import pytest
import torch
from safetensors.torch import load_file, save_file

from chronos_assets.models.checkpoints import ModelError
from chronos_assets.models.loading import load_model
from chronos_assets_tests.models import tiny


@pytest.mark.parametrize("family", ["bolt", "chronos2", "t5"])
def test_every_family_loads_in_float32_and_evaluation_mode(family):
    model = load_model(tiny.folder_of(family), device="cpu")
    network = model.pipeline.inner_model
    assert model.description.family == family
    assert not network.training
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}


def _edit(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("name", ["input_patch_embedding.hidden_layer.weight", "encoder.final_layer_norm.weight"])
def test_weights_that_are_missing_are_not_made_up(tmp_path, name):
    folder = tiny.save_bolt(tmp_path / "model")
    _edit(folder, lambda tensors: tensors.pop(name))
    with pytest.raises(ModelError, match=f"lacks 1 of its weights.*{name}"):
        load_model(folder, device="cpu")


def test_weights_of_another_shape_are_refused(tmp_path):
    folder = tiny.save_bolt(tmp_path / "model")
    _edit(folder, lambda tensors: tensors.update({"shared.weight": torch.zeros(2, 8)}))
    with pytest.raises(ModelError, match="can't be loaded"):
        load_model(folder, device="cpu")


def test_the_output_layer_of_t5_is_the_saved_one(tmp_path):
    """Published T5 checkpoints have an output layer of their own; transformers 5 ties what was saved once."""
    folder = tiny.save_t5(tmp_path / "model")
    head = torch.randn(64, 16, generator=torch.Generator().manual_seed(1))
    _edit(folder, lambda tensors: tensors.update({"lm_head.weight": head}))
    network = load_model(folder, device="cpu").pipeline.inner_model
    assert torch.equal(network.lm_head.weight, head)
    assert not torch.equal(network.shared.weight, head)
