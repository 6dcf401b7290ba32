"""An adapter written for another program, through the gate, as a folder that is whole or not there.

export_adapter(adapter, base, Path("out"), ExportSettings(format="ollama"), rows)
"""

from __future__ import annotations

import importlib.metadata
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.files import refuse_full_disk
from storage.folders import publish, sweep_drafts, write_manifest
from storage.hashes import hash_files
from tuning.base import CONFIG, WEIGHTS, ResolvedModel
from tuning.errors import TuningError
from tuning.exchange.gguf import convert, find_converter, missing_converter, open_gguf, outtype
from tuning.exchange.modelfile import find_pieces, modelfile, renderer, stops
from tuning.exchange.settings import BYTES, ExportSettings
from tuning.exchange.whole import open_whole, write_whole
from tuning.export.adapters import Adapter
from tuning.export.gate import Parity, open_gate
from tuning.export.opening import open_exported
from tuning.packages import missing

if TYPE_CHECKING:
    from tuning.export.gate import Gate

MODELFILE = "Modelfile"
_PACKAGES = ("torch", "transformers", "peft", "safetensors")
# Rounded numbers answer otherwise; what they change is to be less than what training did.
_OF_EFFECT_ROUNDED = 1.0


def export_adapter(
    adapter: Adapter,
    base: ResolvedModel,
    target: Path,
    numbers: ExportSettings,
    rows: Sequence[Sequence[int]],
) -> dict[str, Any]:
    """Write an adapter to a new folder, after its logits on `rows` of token ids were compared with those of the adapter
    as it is; gives the manifest that lies there, too.

    Raises TuningError for what cannot be written so, a folder that is there, too little space, and logits that differ.
    """
    target = target.expanduser().absolute()
    converter = find_converter(numbers.converter)
    _refuse(adapter, target, numbers, converter)
    from tuning.training.libraries import plain_memory_errors, quiet

    try:
        with quiet(), plain_memory_errors("end other programs, or export where there is more"):
            text = _modelfile(adapter, base, numbers, converter)
            refuse_little_space(target, _needed(adapter, base, numbers, converter))
            expected = open_gate(_as_served(adapter, _open(base), adapter.path), rows)
            sweep_drafts(target.parent)
            with publish(target) as draft, refuse_full_disk(target):
                parity = _write(adapter, base, draft, numbers, converter, expected)
                if text is not None:
                    (draft / MODELFILE).write_text(text, encoding="utf-8")
                manifest = _manifest(adapter, numbers, parity, len(rows)) | {"files": hash_files(draft)}
                write_manifest(draft, manifest)
    except OSError as error:
        raise TuningError(f"cannot write {str(target)!r}: {error.strerror or error}; check the path") from error
    return manifest


def refuse_little_space(target: Path, needed: int) -> None:
    """Raise TuningError where the disk of a folder that is to be has less than so many bytes."""
    existing = next(folder for folder in target.parents if folder.exists())
    free = shutil.disk_usage(existing).free
    if free < needed:
        raise TuningError(
            f"{str(target)!r} needs {needed / 1e9:.2f} GB while it is written, and {free / 1e9:.2f} GB are free; free "
            "some space, or give another folder"
        )


def _refuse(adapter: Adapter, target: Path, numbers: ExportSettings, converter: Path | None) -> None:
    if target.exists():
        raise TuningError(f"{str(target)!r} is there already; give a folder that is not")
    if adapter.members:
        names = ", ".join(member.name for member in adapter.members)
        raise TuningError(f"{adapter.name!r} is a set, chosen among by Arbiter alone; export one of {names}")
    is_bottleneck = adapter.form == "beside" and adapter.method == "bottleneck"
    if numbers.format == "peft" and (adapter.form == "merged" or is_bottleneck):
        what = "whole weights; take --as safetensors" if adapter.form == "merged" else "layers that PEFT does not know"
        raise TuningError(f"{adapter.name!r} cannot be exported for PEFT: it is {what}")
    if numbers.format != "peft" and adapter.form not in ("lora", "merged"):
        raise TuningError(
            f"{adapter.name!r} cannot be merged into a model: it is of the form {adapter.form} and changes no weights; "
            + ("its layers are Arbiter's own" if is_bottleneck else "take --as peft")
        )
    if numbers.quantize in ("nf4", "int8"):
        said = missing(f"quantize {numbers.quantize}", "bitsandbytes", "pip install 'arbiter[qlora]'")
        if said:
            raise TuningError(said)
    if converter is None and (numbers.format == "gguf" or numbers.quantize == "q8_0"):
        raise missing_converter()


def _writes_gguf(numbers: ExportSettings, converter: Path | None) -> bool:
    return numbers.format == "gguf" or (numbers.format == "ollama" and converter is not None)


def _gguf_name(adapter: Adapter, numbers: ExportSettings) -> str:
    return f"{adapter.name.replace('@', '-')}-{outtype(numbers)}.gguf"


def _needed(adapter: Adapter, base: ResolvedModel, numbers: ExportSettings, converter: Path | None) -> int:
    """Bytes on the disk while it is written: a GGUF and quantised weights are made of whole ones beside them."""
    if numbers.format == "peft":
        return adapter.num_bytes
    from tuning.methods.size import shapes_of

    count = sum(int(one.numel()) for one in shapes_of(base.path).parameters())
    between = count * BYTES["float32"] if _writes_gguf(numbers, converter) or numbers.quantize else 0
    return between + count * (2 if numbers.quantize else BYTES[numbers.stored])


def _open(base: ResolvedModel) -> Any:
    return open_whole(Path(base.path))


def _as_served(adapter: Adapter, plain: Any, folder: Path) -> Any:
    return open_exported(adapter.form, plain, folder, lambda path: open_whole(Path(path)))


def _write(
    adapter: Adapter,
    base: ResolvedModel,
    draft: Path,
    numbers: ExportSettings,
    converter: Path | None,
    expected: Gate,
) -> Parity | None:
    """Write the weights; None where they cannot be read again to be compared."""
    if numbers.format == "peft":
        for name in (CONFIG, WEIGHTS):
            shutil.copyfile(adapter.path / name, draft / name)
        return _compare(adapter, base, numbers, expected, lambda plain: _as_served(adapter, plain, draft))
    whole = draft / "model"
    if not _writes_gguf(numbers, converter):
        write_whole(adapter, base, whole, dtype=numbers.stored, quantize=numbers.quantize)
        for path in whole.iterdir():
            path.rename(draft / path.name)
        whole.rmdir()
        is_quantized = numbers.quantize is not None
        return _compare(adapter, base, numbers, expected, lambda _: open_whole(draft, is_quantized=is_quantized))
    assert converter is not None
    write_whole(adapter, base, whole, dtype="float32")
    merged = _compare(adapter, base, ExportSettings(), expected, lambda _: open_whole(whole))
    file = draft / _gguf_name(adapter, numbers)
    convert(converter, whole, file, outtype=outtype(numbers))
    shutil.rmtree(whole)
    model = open_gguf(file)
    # Of an architecture that nothing here reads, what went into the converter was compared.
    return None if model is None or merged is None else _compare(adapter, base, numbers, expected, lambda _: model)


def _compare(
    adapter: Adapter, base: ResolvedModel, numbers: ExportSettings, expected: Gate, opened: Callable[[Any], Any]
) -> Parity:
    """Raises TuningError where the logits differ by more than rounding explains."""
    share = {"of_effect": _OF_EFFECT_ROUNDED} if numbers.is_rounded else {}
    parity = expected.measure(lambda: _open(base), opened, **share)
    if not parity.is_kept:
        remedy = "store more exactly" if numbers.is_rounded else "export another adapter"
        raise TuningError(
            f"{adapter.name!r} as {numbers.format} ({numbers.quantize or numbers.stored}) does not answer as it does "
            f"here: logits differ by {parity.largest:.3g}, and training moved them by {parity.effect:.3g}; nothing was "
            f"written: {remedy}"
        )
    return parity


def _modelfile(adapter: Adapter, base: ResolvedModel, numbers: ExportSettings, converter: Path | None) -> str | None:
    if numbers.format != "ollama":
        return None
    from tuning.training.loading import load_tokenizer

    tokenizer = load_tokenizer(base.path)
    pieces = find_pieces(renderer(tokenizer))
    weights = f"./{_gguf_name(adapter, numbers)}" if _writes_gguf(numbers, converter) else "."
    return modelfile(weights, pieces, stops(tokenizer, pieces), system=numbers.system)


def _manifest(adapter: Adapter, numbers: ExportSettings, parity: Parity | None, num_rows: int) -> dict[str, Any]:
    return {
        "adapter": adapter.name,
        "base_name": adapter.base_name,
        "base_revision": adapter.base_revision,
        "chat_template_hash": adapter.chat_template_hash,
        "format": numbers.format,
        "dtype": None if numbers.format == "peft" else numbers.stored,
        "quantize": numbers.quantize,
        "parity": asdict(parity) if parity is not None else None,
        "compared_rows": num_rows,
        "packages": {one: importlib.metadata.version(one) for one in _PACKAGES},
        "created_at": int(time.time()),
    }
