"""What an adapter is written as: `ExportSettings(format="safetensors", dtype="bfloat16")`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from storage.settings import settings
from tuning.errors import TuningError

Format = Literal["peft", "safetensors", "gguf", "ollama"]
Dtype = Literal["float32", "bfloat16", "float16"]
Quantize = Literal["nf4", "int8", "q8_0"]

# Bytes of a number, the scales of quantised ones aside.
BYTES: dict[Dtype, int] = {"float32": 4, "bfloat16": 2, "float16": 2}


@settings(TuningError)
class ExportSettings:
    """A format, and how its numbers are stored."""

    format: Format = "safetensors"
    """`peft` the adapter itself; `safetensors` the whole model, for transformers and vLLM; `gguf` the same for
    llama.cpp; `ollama` either, with a Modelfile."""
    dtype: Dtype | None = None
    """Of the numbers; null is float32, which is exact."""
    quantize: Quantize | None = None
    """`nf4` and `int8` (bitsandbytes) of the linear layers, in safetensors; `q8_0` in a GGUF."""
    converter: Path | None = None
    """llama.cpp's convert_hf_to_gguf.py; null is the one on PATH."""
    system: str | None = None
    """The system message of a Modelfile; null is what the chat template puts in where there is none."""

    def __post_init__(self) -> None:
        if self.format == "peft" and (self.dtype or self.quantize):
            raise ValueError(f"dtype ({self.dtype or self.quantize}) must be left open with peft: it is as trained")
        if self.quantize in ("nf4", "int8") and self.format != "safetensors":
            raise ValueError(f"quantize ({self.quantize}) must be q8_0 or nothing with {self.format}")
        if self.quantize == "q8_0" and self.format == "safetensors":
            raise ValueError("quantize (q8_0) must be nf4 or int8 with safetensors")
        if self.quantize == "q8_0" and self.dtype is not None:
            raise ValueError(f"dtype ({self.dtype}) must be left open with q8_0, which says it")
        if self.system is not None and self.format != "ollama":
            raise ValueError(f"system must be left out with {self.format}; it is for ollama's Modelfile")

    @property
    def stored(self) -> Dtype:
        """The dtype of what is not quantised."""
        return self.dtype or "float32"

    @property
    def is_rounded(self) -> bool:
        """Whether numbers are stored less exactly than they were trained."""
        return self.quantize is not None or self.stored != "float32"
