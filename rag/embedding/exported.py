"""A model in OpenVINO's format, made once: `export_model(model, inputs, cache, key=key, is_int8=False)`."""

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
from typing import Any

from rag.embedding.batches import Inputs
from rag.errors import RagError
from storage.folders import publish_once

# Counted up when something else is written for the same model.
_FORMAT = 2
_FILE = "model.xml"


def export_model(model: Any, inputs: Inputs, cache: Path, *, key: str, is_int8: bool) -> Path:
    """The file to open, in a folder of `cache` that is written whole or not at all; a second process waits for it.

    `model` is a SentenceTransformer with its weights as they were loaded, `key` its identity, `inputs` a batch of at
    least two rows that it takes. Raises RagError if a package is missing, the model cannot be expressed or the disk is
    full.
    """
    kind = "openvino-int8" if is_int8 else "openvino"
    makers = {name: _version(name) for name in ("torch", "openvino", *(["nncf"] if is_int8 else []))}
    content = {"model": key, "kind": kind, "format": _FORMAT, "inputs": sorted(inputs), "made_by": makers}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:12]
    target = cache / f"embedding-{kind}@{digest}"

    def write(folder: Path) -> None:
        with _quietly():
            _write(model, inputs, folder / _FILE, is_int8=is_int8)

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
    return target / _FILE


def _write(model: Any, inputs: Inputs, file: Path, *, is_int8: bool) -> None:
    import openvino
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
    program = torch.export.export(
        Whole().eval(),
        tuple(torch.from_numpy(inputs[name]) for name in names),
        dynamic_shapes=(tuple(sizes for _ in names),),
    )
    made = openvino.convert_model(program)
    for entry, name in zip(made.inputs, names, strict=True):
        entry.get_tensor().set_names({name})
    if is_int8:
        import nncf

        nncf.set_log_level(logging.ERROR)
        # Only weights: what flows between them is rounded at run time, row by row, so no sample texts have to be found,
        # and a vector does not depend on those that share its batch.
        with contextlib.redirect_stdout(io.StringIO()):
            made = nncf.compress_weights(made, mode=nncf.CompressWeightsMode.INT8_SYM)
    openvino.save_model(made, file, compress_to_fp16=False)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        raise RagError(
            f"the embedding backend 'openvino' needs the package {package}; "
            "install it with: pip install 'arbiter[openvino]'"
        ) from None


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """The exporters report each step and what they would rather be given; what matters comes as an exception."""
    logger = logging.getLogger("root")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
