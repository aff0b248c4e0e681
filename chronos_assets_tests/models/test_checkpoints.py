"""References to models, and what their files say without torch."""

import json
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub.errors import HfHubHTTPError
from obstore.store import MemoryStore

from chronos_assets.models import checkpoints
from chronos_assets.models.checkpoints import (
    ModelError,
    QuantileRangeError,
    check_quantiles,
    describe_model,
    download_checkpoint,
    resolve_model,
)
from chronos_assets_tests.models import tiny
from chronos_assets_tests.models.tiny_levels import LEVELS_21


@pytest.mark.parametrize(
    ("family", "levels", "block"), [("bolt", LEVELS_21, 16), ("chronos2", LEVELS_21, 16), ("t5", None, 8)]
)
def test_a_checkpoint_is_described_by_its_files(family, levels, block):
    description = describe_model(tiny.folder_of(family))
    assert description.family == family
    assert description.quantiles == levels
    assert description.quantile_range == (0.01, 0.99)
    assert (description.context_length, description.block_length) == (64, block)
    assert description.parameters > 1000
    assert re.fullmatch("[0-9a-f]{64}", description.digest)
    assert json.loads(json.dumps(description.to_document()))["family"] == family


def test_a_description_needs_no_torch():
    code = (
        "import sys; from chronos_assets.models.checkpoints import describe_model; "
        f"print(describe_model({str(tiny.folder_of('bolt'))!r}).family); "
        "print([name for name in ('torch', 'transformers', 'chronos', 'pandas') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["bolt", "[]"]


def test_the_digest_follows_weights_and_configuration(tmp_path):
    first = describe_model(tiny.save_bolt(tmp_path / "a")).digest
    assert describe_model(tiny.save_bolt(tmp_path / "b")).digest == first
    assert describe_model(tiny.save_bolt(tmp_path / "c", context=128)).digest != first
    weights = tmp_path / "b" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    os.utime(weights, ns=(1, 1))
    assert describe_model(tmp_path / "b").digest != first


def test_pickled_weights_are_refused(tmp_path):
    folder = tiny.save_bolt(tmp_path / "model")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"only pytorch_model\.bin, which could run code.*model\.safetensors"):
        resolve_model(folder)


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ("{", "can't be read"),
        ("[]", "not a JSON object"),
        ('{"model_type": "t5"}', "not the configuration of a Chronos model"),
        ('{"chronos_config": {}, "chronos_pipeline_class": "Other"}', "'Other' is not one of"),
        ('{"chronos_config": {"quantiles": [0.5]}, "chronos_pipeline_class": "ChronosBoltPipeline"}', "prediction_len"),
        (
            '{"chronos_config": {"quantiles": [0.5, 0.1], "prediction_length": 1, "context_length": 1}, '
            '"chronos_pipeline_class": "ChronosBoltPipeline"}',
            "don't ascend",
        ),
    ],
)
def test_a_configuration_that_is_not_chronos_is_refused_by_name(tmp_path, config, complaint):
    folder = tiny.save_bolt(tmp_path / "model")
    (folder / "config.json").write_text(config)
    with pytest.raises(ModelError, match=complaint) as caught:
        describe_model(folder)
    assert str(folder) in str(caught.value)


def test_a_truncated_file_is_refused_by_name(tmp_path):
    folder = tiny.save_bolt(tmp_path / "model")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ModelError, match=r"model\.safetensors is not a whole safetensors file"):
        describe_model(folder)


@pytest.mark.parametrize(
    "reference",
    ["", "nowhere", "../../etc/passwd", "/etc", "https://example.org/model", "a/b/c", "amazon/../secret", "a\x00b/c"],
)
def test_what_is_no_model_is_refused_with_the_forms_that_are(reference):
    with pytest.raises(ModelError, match=re.escape("bundled, a Hub id such as")):
        resolve_model(reference)


def test_an_unreachable_hub_is_one_line_with_the_fix(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError) as caught:
        resolve_model("amazon/chronos-bolt-tiny-of-no-one")
    text = str(caught.value)
    assert "\n" not in text
    assert "'amazon/chronos-bolt-tiny-of-no-one'" in text
    assert "CHRONOS_BASE_MODEL" in text
    assert "bundled" in text


def test_a_download_that_breaks_off_is_one_line_with_the_fix(monkeypatch):
    library = HfHubHTTPError.__bases__[0]
    assert not issubclass(library, OSError)

    def breaks_off(*_, **__):
        raise library("the peer closed the connection")

    monkeypatch.setattr("huggingface_hub.snapshot_download", breaks_off)
    with pytest.raises(ModelError, match=r"the peer closed the connection.*CHRONOS_BASE_MODEL"):
        resolve_model("amazon/chronos-bolt-tiny")


def test_a_folder_that_looks_like_an_id_is_used_but_never_for_a_published_model(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    tiny.save_bolt(tmp_path / "team" / "model")
    tiny.save_bolt(tmp_path / "amazon" / "chronos-bolt-tiny")
    assert resolve_model("team/model") == tmp_path / "team" / "model"
    fetched = []
    monkeypatch.setattr(checkpoints, "_from_hub", lambda name: fetched.append(name) or tmp_path / "team" / "model")
    assert resolve_model("amazon/chronos-bolt-tiny") == tmp_path / "team" / "model"
    assert resolve_model("other/model") == tmp_path / "team" / "model"
    assert fetched == ["amazon/chronos-bolt-tiny", "other/model"]


def test_a_prefix_is_downloaded_once_and_only_what_a_model_needs(tmp_path):
    store = MemoryStore()
    for path in tiny.folder_of("bolt").iterdir():
        store.put(path.name, path.read_bytes())
    store.put("pytorch_model.bin", b"code")
    store.put("nested/config.json", b"{}")
    store.put("modeling.py", b"raise SystemExit")
    folder = download_checkpoint(store, "s3://bucket/model", tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert describe_model(folder).digest == describe_model(tiny.folder_of("bolt")).digest
    assert download_checkpoint(store, "s3://bucket/model", tmp_path) == folder
    assert list(tmp_path.iterdir()) == [folder]
    store.put("config.json", (folder / "config.json").read_bytes() + b"\n")
    assert download_checkpoint(store, "s3://bucket/model", tmp_path) != folder


def test_an_interrupted_download_leaves_nothing(tmp_path, monkeypatch):
    store = MemoryStore()
    store.put("config.json", b"{}")

    def fail(*_: object) -> None:
        raise OSError("cut off")

    monkeypatch.setattr("obstore.get", fail)
    with pytest.raises(OSError, match="cut off"):
        download_checkpoint(store, "s3://bucket/model", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_prefix_without_a_model_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"no config\.json under this prefix"):
        download_checkpoint(MemoryStore(), "s3://bucket/empty", tmp_path)


def test_quantiles_outside_the_range_are_refused_with_range_and_fix(tmp_path):
    description = describe_model(tiny.save_bolt(tmp_path / "narrow", levels=(0.1, 0.5, 0.9)))
    check_quantiles(description, [0.1, 0.33, 0.9])
    with pytest.raises(QuantileRangeError) as caught:
        check_quantiles(description, [0.05, 0.5, 0.95])
    text = str(caught.value)
    assert "quantiles 0.05, 0.95 are outside" in text
    assert "0.1 to 0.9" in text
    assert "ForecastTypes" in text
    assert "CHRONOS_BASE_MODEL" in text


def test_a_missing_bundled_checkpoint_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(checkpoints, "BUNDLED_FOLDER", tmp_path / "bundled")
    with pytest.raises(ModelError, match=r"model 'bundled': there is no config\.json"):
        resolve_model()


def test_the_description_of_a_sharded_checkpoint_counts_all_of_it(tmp_path):
    from safetensors.torch import load_file, save_file

    whole = tiny.save_bolt(tmp_path / "whole")
    parts = tmp_path / "parts"
    parts.mkdir()
    (parts / "config.json").write_bytes((whole / "config.json").read_bytes())
    tensors = sorted(load_file(whole / "model.safetensors").items())
    for number, half in enumerate((tensors[::2], tensors[1::2]), start=1):
        save_file(dict(half), parts / f"model-0000{number}-of-00002.safetensors")
    assert describe_model(parts).parameters == describe_model(whole).parameters
    assert isinstance(describe_model(parts).folder, Path)


def _with_header(folder, header):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)


@pytest.mark.parametrize(
    "header",
    [
        [],
        {"a": []},
        {"a": {"dtype": "F32"}},
        {"a": {"shape": "12"}},
        {"a": {"shape": [-1]}},
        {"a": {"shape": [1.5]}},
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"\xff\xfe",
    ],
)
def test_an_odd_header_of_weights_is_one_sentence(tmp_path, header):
    folder = shutil.copytree(tiny.folder_of("bolt"), tmp_path / "model")
    _with_header(folder, header)
    with pytest.raises(ModelError, match=r"model\.safetensors is not a whole safetensors file"):
        describe_model(folder)


def test_a_nested_configuration_is_one_sentence(tmp_path):
    folder = shutil.copytree(tiny.folder_of("bolt"), tmp_path / "model")
    (folder / "config.json").write_text('{"a":' * 100_000)
    with pytest.raises(ModelError, match=r"config\.json can't be read"):
        describe_model(folder)


@pytest.mark.parametrize(
    "name, value, complaint",
    [
        ("num_layers", 10**9, "larger network than its weights"),
        ("num_decoder_layers", 10**9, "larger network than its weights"),
        ("d_model", 10**9, "larger network than its weights"),
        ("vocab_size", 10**12, "larger network than its weights"),
        ("num_layers", "many", "num_layers is 'many', not a whole number"),
        ("d_ff", -1, "d_ff is -1, not a whole number"),
    ],
)
def test_a_configuration_that_its_weights_don_t_fill_is_refused_before_it_is_built(tmp_path, name, value, complaint):
    folder = shutil.copytree(tiny.folder_of("bolt"), tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {name: value}))
    with pytest.raises(ModelError, match=complaint):
        describe_model(folder)


def test_an_adapter_is_refused_since_its_base_is_covered_by_no_digest(tmp_path):
    folder = shutil.copytree(tiny.folder_of("chronos2"), tmp_path / "model")
    (folder / "adapter_config.json").write_text('{"base_model_name_or_path": "elsewhere"}')
    with pytest.raises(ModelError, match="merge it into the base model"):
        describe_model(folder)
