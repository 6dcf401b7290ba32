"""A torch model's matrix products on oneDNN with weights laid out once: `undo = pack_linears(model, "float32")`.

torch lays a weight out anew at every call, and its MKL uses half-width instructions on processors that are not Intel's.
On one core of an AMD EPYC all-MiniLM-L6-v2 made 27.7 passages/s before and 64 after; the vectors are equal to 1e-7
(docs/experiments/embedding).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal


def pack_linears(model: Any, precision: Literal["float32", "bfloat16"]) -> Callable[[], None]:
    """Replaces how every float32 torch.nn.Linear on the CPU multiplies; the returned call takes it back.

    With bfloat16 the factors are rounded to it; sums, and everything between the products, stay float32. The model can
    then only infer. Raises RuntimeError, AttributeError or NotImplementedError, the model as it was, where torch has
    not been built with oneDNN.
    """
    import torch

    dtype = getattr(torch, precision)
    packed = []
    with torch.inference_mode():
        for module in model.modules():
            # A subclass may do something else with its weight.
            if type(module) is torch.nn.Linear and module.weight.dtype == torch.float32:
                weight = torch.ops.mkldnn._reorder_linear_weight(module.weight.detach().to(dtype), None)
                bias = None if module.bias is None else module.bias.detach().to(dtype)
                packed.append((module, module.weight.data, partial(_multiply, dtype, weight, bias)))
    for module, weight, forward in packed:
        vars(module)["forward"] = forward
        # Right in shape and type for whoever asks, without the memory.
        module.weight.data = torch.zeros(1, dtype=weight.dtype).expand_as(weight)

    def undo() -> None:
        for module, weight, _ in packed:
            del module.forward
            module.weight.data = weight

    return undo


def _multiply(dtype: Any, weight: Any, bias: Any, inputs: Any) -> Any:
    import torch

    product = torch.ops.mkldnn._linear_pointwise(inputs.to(dtype), weight, bias, "none", [], "")
    return product.to(inputs.dtype)
