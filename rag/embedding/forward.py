"""Batches of token ids to unit vectors, by whatever runs the model: `torch_forward(model)(batch.inputs)`.

A `Forward` may be called from several threads at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from rag.embedding.batches import Inputs

Forward = Callable[[Inputs], NDArray[np.float32]]

# Values that share a scale when OpenVINO rounds a row to int8. Lowest cosines to float32: .9983 in groups of 32, .9950
# in one of 384, at like speed.
_INT8_GROUP = 32


def torch_forward(model: Any, precision: Literal["float32", "bfloat16"] = "float32") -> Forward:
    """All modules of a SentenceTransformer in a row, on the device it is on, the products in bfloat16 if asked for."""
    import torch

    device = model.device

    def forward(inputs: Inputs) -> NDArray[np.float32]:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            features = {name: torch.from_numpy(values).to(device) for name, values in inputs.items()}
            return unit_rows(model(features)["sentence_embedding"].float().cpu().numpy())

    return forward


def open_openvino(file: Path, precision: Literal["float32", "bfloat16", "int8"], streams: int) -> Forward:
    """OpenVINO on the CPU, with so many streams of one thread each."""
    import openvino

    compiled = openvino.Core().compile_model(
        str(file),
        "CPU",
        {
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": streams,
            "ENABLE_CPU_PINNING": False,
            # Left to itself it rounds to bfloat16 wherever the processor can.
            "INFERENCE_PRECISION_HINT": "bf16" if precision == "bfloat16" else "f32",
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": _INT8_GROUP if precision == "int8" else 0,
        },
    )
    wanted = [entry.get_any_name() for entry in compiled.inputs]
    mine = threading.local()

    def forward(inputs: Inputs) -> NDArray[np.float32]:
        if not hasattr(mine, "request"):
            mine.request = compiled.create_infer_request()
        found = mine.request.infer({name: inputs[name] for name in wanted}, share_inputs=True)
        return unit_rows(np.array(found[0]))

    return forward


def unit_rows(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """The rows divided by their lengths; a row of zeros stays one."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    rows: NDArray[np.float32] = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return rows
