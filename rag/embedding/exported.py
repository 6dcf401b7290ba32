"""A model in the formats of other runtimes, made once: `export_model(model, inputs, cache, key=key, kind="onnx")`."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import warnings
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from rag.embedding.batches import Inputs
from rag.errors import RagError
from storage.folders import publish_once

Kind = Literal["onnx", "onnx-int8", "openvino-int8"]

# Counted up when something else is written for the same model.
_FORMAT = 1
_FILES: dict[str, str] = {"onnx": "model.onnx", "onnx-int8": "model.onnx", "openvino-int8": "model.xml"}
_MAKERS: dict[str, tuple[str, ...]] = {
    "onnx": ("torch", "onnx", "onnxscript"),
    "onnx-int8": ("torch", "onnx", "onnxscript", "onnxruntime"),
    "openvino-int8": ("torch", "onnx", "onnxscript", "openvino", "nncf"),
}


def export_model(model: Any, inputs: Inputs, cache: Path, *, key: str, kind: Kind) -> Path:
    """The file to open, in a folder of `cache` that is written whole or not at all; a second process waits for it.

    `model` is a SentenceTransformer with its weights as they were loaded, `key` its identity, `inputs` a batch of at
    least two rows that it takes. Raises RagError if a package is missing, the model cannot be expressed or the disk is
    full.
    """
    makers = {name: _version(name, kind) for name in _MAKERS[kind]}
    content = {"model": key, "kind": kind, "format": _FORMAT, "inputs": sorted(inputs), "made_by": makers}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
    target = cache / f"embedding-{kind}@{digest}"
    file = target / _FILES[kind]

    def write(folder: Path) -> None:
        with _quietly():
            _write(model, inputs, folder, kind)

    try:
        publish_once(target, content, write)
    except OSError as error:
        raise RagError(
            f"cannot write the exported model {str(target)!r}: {error.strerror or error}; free space, or use the "
            "backend 'torch'"
        ) from error
    except Exception as error:
        # The exporters raise whatever their parts do; each ends here with its own words.
        reason = str(error).strip().split("\n", 1)[0]
        raise RagError(
            f"embedding model {key!r} cannot be exported as {kind}: {reason}; use the backend 'torch'"
        ) from error
    return file


def _write(model: Any, inputs: Inputs, folder: Path, kind: Kind) -> None:
    onnx_file = folder / "model.onnx"
    _write_onnx(model, inputs, onnx_file if kind == "onnx" else folder / "float32.onnx")
    if kind == "onnx-int8":
        from onnxruntime.quantization import QuantType, quantize_dynamic

        # A scale for each row of a weight: with one for the whole, cosines to float32 fell from .994 to .952.
        quantize_dynamic(folder / "float32.onnx", onnx_file, weight_type=QuantType.QInt8, per_channel=True)
    if kind == "openvino-int8":
        _write_openvino(folder / "float32.onnx", folder / "model.xml")
    for file in folder.glob("float32.onnx*"):
        file.unlink()


def _write_onnx(model: Any, inputs: Inputs, file: Path) -> None:
    import torch

    names = list(inputs)

    class Whole(torch.nn.Module):
        """Pooling and what else follows the transformer included."""

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *tensors: Any) -> Any:
            return self.model(dict(zip(names, tensors, strict=True)))["sentence_embedding"]

    sizes = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    program = torch.onnx.export(
        Whole().eval(),
        tuple(torch.from_numpy(inputs[name]) for name in names),
        input_names=names,
        output_names=["sentence_embedding"],
        dynamic_shapes=(tuple(sizes for _ in names),),
        dynamo=True,
        verbose=False,
    )
    assert program is not None  # it is None for the old exporter only
    program.save(str(file))


def _write_openvino(onnx_file: Path, file: Path) -> None:
    import nncf
    import openvino

    nncf.set_log_level(logging.ERROR)
    # Only weights: what flows between them is rounded at run time, row by row, so no sample texts have to be found,
    # and a vector does not depend on those that share its batch.
    with contextlib.redirect_stdout(io.StringIO()):
        model = nncf.compress_weights(openvino.Core().read_model(onnx_file), mode=nncf.CompressWeightsMode.INT8_SYM)
    openvino.save_model(model, file, compress_to_fp16=False)


def _version(package: str, kind: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        extra = kind.split("-")[0]
        raise RagError(
            f"the embedding backend {extra!r} needs the package {package}; "
            f"install it with: pip install 'arbiter[{extra}]'"
        ) from None


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """The exporters report each step and what they would rather be given; what matters comes as an exception."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "root")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
