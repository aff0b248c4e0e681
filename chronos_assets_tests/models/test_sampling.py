"""T5's paths: those of the library, of several series at once, and of each series alone."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from chronos_assets.models import sampling
from chronos_assets.models.forecasting import Forecaster
from chronos_assets.models.loading import LoadedModel, load_model
from chronos_assets.models.networks.t5 import T5, past_classes
from chronos_assets.models.sampling import LibrarySampler, PathSampler, open_sampler
from chronos_assets_tests.models import tiny

LEVELS = (0.1, 0.5, 0.9)


@pytest.fixture(scope="module")
def model() -> LoadedModel:
    return load_model(tiny.folder_of("t5"), device="cpu")


@pytest.fixture(scope="module")
def sampler(model: LoadedModel) -> PathSampler:
    found = open_sampler(model)
    assert isinstance(found, PathSampler)
    return found


def wave(length: int = 30, shift: float = 0.0) -> np.ndarray:
    return np.abs(np.sin(np.arange(length) / 3 + shift)).astype(np.float32)


def awkward() -> list[np.ndarray]:
    gaps = wave(48, 1.0)
    gaps[5:20] = np.nan
    return [wave(), gaps, np.full(12, 2.0, np.float32), wave(64), np.array([1.0, 2.0], np.float32)]


@pytest.mark.parametrize("kind", ["tied", "untied", "scaled"])
def test_scores_are_the_librarys(kind: str, tmp_path: Path) -> None:
    """Of every step, given the tokens before it; with an output layer of its own, as the published checkpoints have."""
    folder = tiny.save_t5(tmp_path / "model")
    if kind == "untied":
        tensors = load_file(folder / "model.safetensors")
        head = torch.randn(tensors["shared.weight"].shape, generator=torch.Generator().manual_seed(1))
        save_file({**tensors, "lm_head.weight": head}, folder / "model.safetensors", metadata={"format": "pt"})
    if kind == "scaled":
        document = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(document | {"scale_decoder_outputs": True}))
    model = load_model(folder, device="cpu")
    network, library = model.network, model.pipeline.model.model
    assert isinstance(network, T5)
    contexts = torch.nan * torch.ones(3, 64)
    for row, context in enumerate(awkward()[:3]):
        contexts[row, 64 - len(context) :] = torch.from_numpy(context)
    tokens, there, scales = network.config.bins.encode(contexts)
    theirs = model.pipeline.tokenizer.context_input_transform(contexts)
    assert torch.equal(tokens, theirs[0])
    assert torch.equal(there, theirs[1])
    torch.testing.assert_close(scales, theirs[2])
    forced = torch.randint(2, 64, (6, 40), generator=torch.Generator().manual_seed(1))
    scores: list[torch.Tensor] = []

    def draw(found: torch.Tensor, step: int) -> torch.Tensor:
        scores.append(found)
        return forced[:, step : step + 1]

    with torch.inference_mode():
        drawn = network.generate(tokens, there, 2, 40, draw)
        start = torch.full((6, 1), network.config.start_token)
        expected = library(
            input_ids=tokens.repeat_interleave(2, dim=0),
            attention_mask=there.repeat_interleave(2, dim=0),
            decoder_input_ids=torch.cat([start, forced[:, :-1]], dim=1),
        ).logits
    assert torch.equal(drawn, forced)
    torch.testing.assert_close(torch.stack(scores, dim=1), expected, rtol=1e-4, atol=1e-4)


def test_values_are_decoded_as_the_library_does(model: LoadedModel, sampler: PathSampler) -> None:
    tokens = torch.randint(0, 64, (2, 3, 5), generator=torch.Generator().manual_seed(2))
    scales = torch.tensor([0.5, 3.0])
    torch.testing.assert_close(
        sampler.network.config.bins.decode(tokens, scales), model.pipeline.tokenizer.output_transform(tokens, scales)
    )


@pytest.mark.parametrize("buckets", [8, 32])
def test_distances_back_are_classed_as_t5_does(buckets: int) -> None:
    from transformers.models.t5.modeling_t5 import T5Attention

    back = torch.arange(0, 300)
    expected = T5Attention._relative_position_bucket(-back, bidirectional=False, num_buckets=buckets, max_distance=128)
    assert torch.equal(past_classes(back, buckets, 128), expected)


@pytest.mark.parametrize("settings", [{}, {"temperature": 0.5, "top_k": 5}, {"top_k": 0, "top_p": 0.7}], ids=str)
def test_paths_are_sampled_as_the_library_does(
    model: LoadedModel, sampler: PathSampler, monkeypatch: pytest.MonkeyPatch, settings: dict[str, float]
) -> None:
    """Value by value, where the library draws with the same numbers, from its own probabilities."""
    pipeline = model.pipeline
    for name, value in settings.items():
        monkeypatch.setattr(pipeline.model.config, name, value)
    numbers = iter(torch.rand((12, 8), generator=torch.Generator().manual_seed(11)).T)

    def multinomial(chances: torch.Tensor, num_samples: int) -> torch.Tensor:
        assert num_samples == 1
        descending, tokens = chances.sort(dim=-1, descending=True, stable=True)
        return tokens.gather(1, (descending.cumsum(dim=-1) <= next(numbers)[:, None]).sum(dim=-1, keepdim=True))

    with monkeypatch.context() as patch:
        patch.setattr(torch, "multinomial", multinomial)
        expected = pipeline.predict(torch.tensor(wave()), prediction_length=8, num_samples=12)[0]
    ours = replace(sampler, drawing=replace(sampler.drawing, **settings))
    with torch.inference_mode():
        (paths,) = ours.paths([wave()], 8, 12, [11])
    np.testing.assert_allclose(paths, expected.double().numpy(), rtol=1e-6)


@pytest.mark.process
def test_the_paths_of_many_series_have_the_librarys_distribution(model: LoadedModel, sampler: PathSampler) -> None:
    """Kolmogorov-Smirnov for each series and period, at a level that all 40 together miss once in a thousand runs."""
    from scipy.stats import ks_2samp

    series, samples = awkward(), 1_500
    with torch.inference_mode():
        ours = sampler.paths(series, 8, samples, list(range(len(series))))
        with torch.random.fork_rng():
            torch.manual_seed(5)
            theirs = [
                model.pipeline.predict(torch.tensor(item), prediction_length=8, num_samples=samples)[0].numpy()
                for item in series
            ]
    # As numbers of bins: values of one bin must be the same whatever their last bits.
    centers = sampler.network.config.bins.centers.double().numpy()
    scales = np.array([np.nanmean(np.abs(item)) for item in series])[:, None, None]
    ours, theirs = (
        np.rint((np.stack(paths).astype(float) / scales - centers[0]) / (centers[1] - centers[0]))
        for paths in (ours, theirs)
    )
    found = [
        ks_2samp(ours[row][:, step], theirs[row][:, step], method="asymp").pvalue
        for row in range(len(series))
        for step in range(8)
    ]
    assert min(found) > 0.001 / len(found)
    # The test can tell distributions apart: drawn at another temperature, they are others.
    cooler = replace(sampler, drawing=replace(sampler.drawing, temperature=0.7))
    with torch.inference_mode():
        others = np.rint(
            (cooler.paths(series[:1], 8, samples, [9]) / scales[:1] - centers[0]) / (centers[1] - centers[0])
        )
    assert ks_2samp(others[0][:, 0], theirs[0][:, 0], method="asymp").pvalue < 1e-6


@pytest.mark.parametrize("horizon", [8, 20])  # within a block, and beyond one
def test_a_series_paths_follow_from_itself_and_its_seed(sampler: PathSampler, horizon: int) -> None:
    series, seeds = awkward(), [3, 1, 4, 1, 5]
    with torch.inference_mode():
        together = sampler.paths(series, horizon, 10, seeds, width=64, rows=6)
        order = [4, 2, 0, 1, 3]
        shuffled = sampler.paths([series[i] for i in order], horizon, 10, [seeds[i] for i in order], width=64, rows=6)
        alone = [
            sampler.paths([item], horizon, 10, [seed], width=64, rows=6)[0]
            for item, seed in zip(series, seeds, strict=True)
        ]
    assert together.shape == (5, 10, horizon)
    np.testing.assert_array_equal(shuffled, together[order])
    np.testing.assert_array_equal(np.stack(alone), together)
    assert not np.array_equal(together[1], together[3])  # the same seed, another series


def test_paths_that_memory_does_not_hold_together_are_drawn_in_portions(
    sampler: PathSampler, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two blocks of keys and values, of 16 features, for 8 periods of its own and 64 + 8 + 1 that each path reads.
    monkeypatch.setattr(sampling, "_MEMORY_OF_PATHS", 5 * 4 * 2 * 16 * (8 + 73))
    counts: list[int] = []
    go_on = PathSampler._go_on

    def counted(self: PathSampler, history: torch.Tensor, horizon: int, count: int, generators: list) -> torch.Tensor:
        counts.append(count)
        return go_on(self, history, horizon, count, generators)

    monkeypatch.setattr(PathSampler, "_go_on", counted)
    with torch.inference_mode():
        (paths,) = sampler.paths([wave()], 12, 12, [1], width=64)
    assert counts == [5, 5, 2]
    assert not np.array_equal(paths[:5], paths[5:10])
    assert sampler.series_at_once(64, 12, 100) == 1
    # Within a block a path keeps its own steps only.
    assert sampler.series_at_once(64, 8, 12) == 4


def test_paths_resume_from_their_own_values(sampler: PathSampler, monkeypatch: pytest.MonkeyPatch) -> None:
    histories: list[torch.Tensor] = []
    block = PathSampler._block

    def seen(self: PathSampler, history: torch.Tensor, *given: object) -> torch.Tensor:
        histories.append(history)
        return block(self, history, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(PathSampler, "_block", seen)
    with torch.inference_mode():
        (paths,) = sampler.paths([np.ones(30, np.float32)], 24, 6, [1])
    assert [tuple(history.shape) for history in histories] == [(1, 30), (6, 38), (6, 46)]
    assert np.array_equal(histories[2][:, 30:].numpy(), paths[:, :16].astype(np.float32))


def test_a_forecast_of_t5_needs_neither_library(model: LoadedModel) -> None:
    forecaster = Forecaster(model, 8, LEVELS)
    assert isinstance(forecaster._network, PathSampler)
    found = forecaster.forecast([wave(40).astype(float)] * 5, seeds=[1, 2, 1, 2, 1])
    assert np.array_equal(found.quantiles[0], found.quantiles[2])
    assert not np.array_equal(found.quantiles[0], found.quantiles[1])


def test_a_variant_without_a_slim_network_is_sampled_by_the_library(tmp_path: Path) -> None:
    from transformers import T5Config, T5ForConditionalGeneration

    folder = tiny.save_t5(tmp_path / "model")
    document = json.loads((folder / "config.json").read_text())
    gated = {"feed_forward_proj": "gated-gelu", "dense_act_fn": "gelu_new", "is_gated_act": True}
    config = T5Config(**{**document, **gated})
    config.chronos_config, config.chronos_pipeline_class = document["chronos_config"], "ChronosPipeline"
    T5ForConditionalGeneration(config).save_pretrained(folder)
    model = load_model(folder, device="cpu")
    assert model.network is None
    network = Forecaster(model, 12, LEVELS)._network
    assert isinstance(network, LibrarySampler)
    with torch.inference_mode():
        paths = network.paths([wave(), wave(20)], 12, 6, [1, 2], width=64, rows=4)
    assert paths.shape == (2, 6, 12)
    assert np.isfinite(paths).all()
