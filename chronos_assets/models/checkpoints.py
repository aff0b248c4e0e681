"""Where a model's files are and what they say, without loading the model.

Here belong references (the bundled checkpoint, a Hub id, a folder, an `s3://` prefix), getting their files to a local
folder, and describing them: family, quantile levels, context and block length, digest. Nothing here imports torch, so
that an asset's shell can name the model it will use. Loading the weights is in `loading`.

A checkpoint is a folder with `config.json` and `*.safetensors` as Hugging Face transformers writes them; the families
are distinguished by the keys `chronos_pipeline_class` and `chronos_config` of the configuration, as in
`chronos.BaseChronosPipeline.from_pretrained`. Pickled weights (`pytorch_model.bin`) are refused, since loading them can
run code; for the same reason only those two kinds of file are ever downloaded.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import struct
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast

from chronos_assets.errors import ChronosAssetsError
from chronos_assets.system import document_digest, file_digest
from chronos_assets.wording import first_line

BUNDLED = "bundled"
BUNDLED_FOLDER = Path(__file__).parent / "bundled"

Family = Literal["t5", "bolt", "chronos2"]
FAMILIES: Mapping[str, Family] = {
    "ChronosPipeline": "t5",
    "ChronosBoltPipeline": "bolt",
    "Chronos2Pipeline": "chronos2",
}

# What T5 is asked for at most: its quantiles are those of samples, and the service has no level beyond these.
SAMPLED_RANGE = (0.01, 0.99)

_FORMS = "bundled, a Hub id such as amazon/chronos-bolt-small, a folder, or s3://bucket/prefix"
_HUB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_WANTED_FILES = re.compile(r"(config|generation_config|[\w.-]+\.safetensors\.index)\.json|[\w.-]+\.safetensors")
_HUB_TIMEOUT_SECONDS = 10
_MAX_JSON = 100 << 20  # bytes of a configuration or of the header of weights: what the safetensors library allows


class ModelError(ChronosAssetsError, ValueError):
    """A model reference or its files can't be used; one line that names the reference and how to fix it."""


class QuantileRangeError(ModelError):
    """Quantiles were asked for that the model does not forecast."""


@dataclass(frozen=True)
class ModelDescription:
    """What a checkpoint's files say.

    Attributes:
        reference: the model as it was asked for.
        folder: where its files are on this machine.
        family: "t5" forecasts by sampling, "bolt" and "chronos2" give quantiles directly.
        quantiles: levels that the network gives itself, ascending; None for a family that samples.
        quantile_range: lowest and highest level that may be asked for.
        context_length: number of latest periods that the model reads.
        block_length: number of periods forecast at once; a longer horizon is unrolled.
        parameters: number of weights.
        digest: SHA-256 of the configuration and the weights, hexadecimal.
    """

    reference: str
    folder: Path
    family: Family
    quantiles: tuple[float, ...] | None
    quantile_range: tuple[float, float]
    context_length: int
    block_length: int
    parameters: int
    digest: str

    def to_document(self) -> dict[str, Any]:
        """The description as JSON values, without the folder, which differs between machines."""
        return {
            "reference": self.reference,
            "family": self.family,
            "quantiles": list(self.quantiles) if self.quantiles else None,
            "quantile_range": list(self.quantile_range),
            "context_length": self.context_length,
            "block_length": self.block_length,
            "parameters": self.parameters,
            "digest": self.digest,
        }


def resolve_model(reference: str | os.PathLike[str] = BUNDLED) -> Path:
    """The folder with the files of a model, downloaded first if they are elsewhere.

    A reference of the form `owner/name` is a Hub id unless a folder of that name holds a `config.json`; `amazon/...` is
    always one, so that no folder can pose as a published model. Downloads go to the Hugging Face cache, or for `s3://`
    to `$XDG_CACHE_HOME/chronos-assets/models`, and are used again.

    Raises:
        ModelError: not one of these, not there, not reachable, or without safetensors.
    """
    text = os.fspath(reference).strip()
    if text == BUNDLED:
        return _checked(BUNDLED_FOLDER, text)
    if text.startswith("s3://"):
        return _checked(_from_s3(text), text)
    if "://" in text or not text:
        raise ModelError(f"model {text!r}: use {_FORMS}")
    folder = Path(text).expanduser()
    is_id = _HUB_ID.fullmatch(text) is not None
    if (folder / "config.json").is_file() and not text.startswith("amazon/"):
        return _checked(folder.resolve(), text)
    if is_id and not folder.is_dir():
        return _checked(_from_hub(text), text)
    if is_id and text.startswith("amazon/"):
        return _checked(_from_hub(text), text)
    if folder.is_dir():
        return _checked(folder, text)
    raise ModelError(f"model {text!r}: there is no such folder; use {_FORMS}")


def is_elsewhere(reference: str) -> bool:
    """Whether a model's files come from the Hub or a bucket, see `resolve_model`; nothing is looked for there."""
    text = reference.strip()
    if text.startswith("s3://"):
        return True
    folder = Path(text).expanduser()
    here = folder.is_dir() and not text.startswith("amazon/")
    return text != BUNDLED and _HUB_ID.fullmatch(text) is not None and not here


def describe_model(reference: str | os.PathLike[str] = BUNDLED) -> ModelDescription:
    """What the model's files say, without loading torch. The digest is kept until a file's size or time changes.

    Raises:
        ModelError: see `resolve_model`; or the configuration is not that of a Chronos model.
    """
    text = os.fspath(reference).strip()
    folder = resolve_model(text)
    config = _read_config(folder, text)
    chronos = config.get("chronos_config")
    pipeline = config.get("chronos_pipeline_class", "ChronosPipeline")
    if not isinstance(chronos, dict) or pipeline not in FAMILIES:
        raise ModelError(
            f"model {text!r}: {folder / 'config.json'} is not the configuration of a Chronos model "
            f"(chronos_config is missing or {pipeline!r} is not one of {', '.join(FAMILIES)})"
        )
    family = FAMILIES[pipeline]
    if family == "t5" and chronos.get("model_type") != "seq2seq":
        raise ModelError(f"model {text!r}: only encoder-decoder models sample here, not {chronos.get('model_type')!r}")
    try:
        levels = None if family == "t5" else _levels(chronos["quantiles"])
        block = (
            int(chronos["max_output_patches"]) * int(chronos["output_patch_size"])
            if family == "chronos2"
            else int(chronos["prediction_length"])
        )
        context = int(chronos["context_length"])
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"model {text!r}: chronos_config in {folder / 'config.json'} is incomplete: {error}"
        ) from error
    weights = _weight_files(folder)
    tensors = [shape for path in weights for shape in _header(path, text).values()]
    parameters = sum(math.prod(shape) for shape in tensors)
    _check_sizes(config, len(tensors), parameters, f"model {text!r}: {folder / 'config.json'}")
    return ModelDescription(
        reference=text,
        folder=folder,
        family=family,
        quantiles=levels,
        quantile_range=(levels[0], levels[-1]) if levels else SAMPLED_RANGE,
        context_length=context,
        block_length=block,
        parameters=parameters,
        digest=_digest([folder / "config.json", *weights]),
    )


def check_quantiles(description: ModelDescription, levels: Sequence[float]) -> None:
    """Refuse levels outside the model's range, since anything given for them would be clipped or made up.

    Raises:
        QuantileRangeError: names the levels, the range and how to fix it.
    """
    low, high = description.quantile_range
    outside = [level for level in levels if not low - 1e-9 <= level <= high + 1e-9]
    if outside:
        raise QuantileRangeError(
            f"{_listed(outside)} outside of what model {description.reference!r} forecasts, {low:g} to {high:g}: "
            "ask for quantiles within it in ForecastTypes, or set CHRONOS_BASE_MODEL to a model with a wider range "
            "(bundled and amazon/chronos-2 go from 0.01 to 0.99)"
        )


def tensor_names(folder: Path) -> dict[str, Path]:
    """Every tensor in the folder's weights, with the file that holds it."""
    return {name: path for path in _weight_files(folder) for name in _header(path, str(folder))}


def _listed(levels: Sequence[float]) -> str:
    names = ", ".join(f"{level:g}" for level in levels)
    return f"quantile {names} is" if len(levels) == 1 else f"quantiles {names} are"


def _levels(values: Any) -> tuple[float, ...]:
    levels = tuple(float(value) for value in values)
    if not levels or list(levels) != sorted(set(levels)) or levels[0] <= 0 or levels[-1] >= 1:
        raise ValueError(f"quantiles {values} don't ascend between 0 and 1")
    return levels


def _weight_files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.safetensors"))


def _checked(folder: Path, reference: str) -> Path:
    """`folder` if it has a configuration and safetensors."""
    if not (folder / "config.json").is_file():
        raise ModelError(f"model {reference!r}: there is no config.json in {folder}; use {_FORMS}")
    if not _weight_files(folder):
        pickled = sorted(path.name for path in [*folder.glob("*.bin"), *folder.glob("*.pt"), *folder.glob("*.ckpt")])
        found = f"only {', '.join(pickled)}, which could run code when loaded" if pickled else "no weights"
        raise ModelError(
            f"model {reference!r}: {folder} holds {found}; save the model with "
            "save_pretrained(..., safe_serialization=True) to get model.safetensors"
        )
    if (folder / "adapter_config.json").exists():
        raise ModelError(
            f"model {reference!r}: {folder} holds an adapter (adapter_config.json) whose base model lies elsewhere, which no "
            "digest covers: merge it into the base model (peft's merge_and_unload) and save that"
        )
    return folder


def _check_sizes(config: Mapping[str, Any], tensors: int, parameters: int, what: str) -> None:
    """Refuse a configuration that describes a larger network than the weights are of, before it is built."""
    size = {}
    for name in ("num_layers", "num_decoder_layers", "d_model", "d_ff", "d_kv", "num_heads", "vocab_size"):
        value = config.get(name, 1)
        if value is None:
            value = 1
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ModelError(f"{what}: {name} is {value!r}, not a whole number: correct it or save the model again")
        size[name] = value
    width = size["d_model"]
    described = {
        "num_layers": (size["num_layers"] + size["num_decoder_layers"], tensors),
        "d_ff": (width * size["d_ff"], parameters),
        "num_heads and d_kv": (width * size["num_heads"] * size["d_kv"], parameters),
        "vocab_size": (width * size["vocab_size"], parameters),
    }
    for name, (wanted, there) in described.items():
        if wanted > there:
            raise ModelError(
                f"{what} describes a larger network than its weights are of ({name}; {parameters:,} weights in {tensors} "
                "tensors): put the configuration that was saved with them there"
            )


def _read_config(folder: Path, reference: str) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        if path.stat().st_size > _MAX_JSON:
            raise ValueError("it is too large")
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"model {reference!r}: {path} can't be read: {error}") from error
    if not isinstance(config, dict):
        raise ModelError(f"model {reference!r}: {path} is not a JSON object")
    return config


def _header(path: Path, reference: str) -> dict[str, tuple[int, ...]]:
    """Shapes of the tensors that a safetensors file says it holds: an 8-byte length, then that much JSON."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > min(path.stat().st_size, _MAX_JSON):
                raise ValueError("the header is longer than the file, or than any")
            header = json.loads(file.read(length))
        if not isinstance(header, dict):
            raise ValueError("the header is no JSON object")
        return {name: _shape(name, tensor) for name, tensor in header.items() if name != "__metadata__"}
    except (OSError, struct.error, ValueError, RecursionError) as error:
        raise ModelError(f"model {reference!r}: {path} is not a whole safetensors file: {error}") from error


def _shape(name: str, tensor: Any) -> tuple[int, ...]:
    shape = tensor.get("shape") if isinstance(tensor, dict) else None
    if not isinstance(shape, list) or not all(type(length) is int and length >= 0 for length in shape):
        raise ValueError(f"tensor {name!r} has no shape")
    return tuple(shape)


def _digest(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        status = path.stat()
        digest.update(f"{path.name}:{_file_digest(path, status.st_size, status.st_mtime_ns)}\n".encode())
    return digest.hexdigest()


@lru_cache(maxsize=64)
def _file_digest(path: Path, size: int, modified_ns: int) -> str:
    """SHA-256 of a file; size and time are part of the key so that a changed file is read again."""
    return file_digest(path)


def _from_hub(name: str) -> Path:
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()
    # The Hub's own error derives from those of its HTTP library, which is another one from version to version.
    library = cast("tuple[type[Exception], ...]", HfHubHTTPError.__bases__)
    unreachable: tuple[type[Exception], ...] = (*library, HFValidationError, LocalEntryNotFoundError, OSError)
    try:
        folder = snapshot_download(
            name,
            allow_patterns=["config.json", "generation_config.json", "*.safetensors", "*.safetensors.index.json"],
            etag_timeout=_HUB_TIMEOUT_SECONDS,
        )
    except unreachable as error:
        raise ModelError(
            f"model {name!r} could not be fetched from the Hugging Face Hub ({first_line(error)}): check the network "
            "and the name, or set CHRONOS_BASE_MODEL to bundled or to a folder that holds the model"
        ) from error
    return Path(folder)


def _from_s3(url: str) -> Path:
    from obstore.exceptions import BaseError
    from obstore.store import S3Store

    try:
        return download_checkpoint(S3Store.from_url(url), url)
    except (BaseError, OSError) as error:
        raise ModelError(
            f"model {url!r} could not be downloaded ({first_line(error)}): check the prefix and the AWS credentials, "
            "or set CHRONOS_BASE_MODEL to bundled or to a folder that holds the model"
        ) from error


def download_checkpoint(store: Any, url: str, cache: Path | None = None) -> Path:
    """Copy the configuration and safetensors at the top of an obstore store to the cache, unless they are there.

    The folder's name holds a digest of the objects' names, sizes and etags: a changed model gets a new folder, and an
    interrupted download leaves none.

    Args:
        store: any obstore store whose root is the model's prefix.
        url: what to call it in errors.
        cache: folder of downloaded models.
    """
    import obstore

    if cache is None:
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chronos-assets" / "models"
    objects = sorted(
        (meta["path"], meta["size"], meta.get("e_tag") or str(meta["last_modified"]))
        for batch in obstore.list(store)
        for meta in batch
        if _WANTED_FILES.fullmatch(meta["path"])
    )
    if not any(path == "config.json" for path, _, _ in objects):
        raise ModelError(f"model {url!r}: there is no config.json under this prefix; use {_FORMS}")
    target = cache / document_digest([url, objects])[:32]
    if not target.is_dir():
        with _new_folder(target) as folder:
            for path, _, _ in objects:
                with (folder / path).open("wb") as file:
                    file.writelines(obstore.get(store, path).stream(min_chunk_size=8 * 1024 * 1024))
    return target


@contextmanager
def _new_folder(target: Path) -> Iterator[Path]:
    """A folder that becomes `target` at once when all went well, and nothing otherwise."""
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=".download-", dir=target.parent))
    try:
        yield folder
        try:
            folder.rename(target)
        except OSError:
            if not target.is_dir():  # otherwise another process finished the same download first
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
