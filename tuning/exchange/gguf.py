"""GGUF through llama.cpp's own converter: `convert(find_converter(None), folder, file, outtype="f16")`.

The registry has no kept package that converts models; `gguf` reads and writes the files. The converter is a script of
llama.cpp's repository, which is run as it is.
"""

from __future__ import annotations

import contextlib
import io
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tuning.errors import TuningError
from tuning.exchange.settings import Dtype, ExportSettings

_NAMES = ("convert_hf_to_gguf.py", "convert-hf-to-gguf")
_OUTTYPES: dict[Dtype, str] = {"float32": "f32", "bfloat16": "bf16", "float16": "f16"}
_MESSAGE_CHARACTERS = 200


def find_converter(given: Path | None) -> Path | None:
    """The one that is given, or on PATH; None where there is none. Raises TuningError for one that is not there."""
    if given is None:
        found = next(filter(None, map(shutil.which, _NAMES)), None)
        return None if found is None else Path(found)
    path = given.expanduser()
    if not path.is_file():
        raise TuningError(f"no converter {str(given)!r}; give the path of llama.cpp's {_NAMES[0]}")
    return path


def missing_converter() -> TuningError:
    """How to get it."""
    return TuningError(
        "gguf needs llama.cpp's converter, which is not on PATH; get github.com/ggml-org/llama.cpp and give "
        f"--converter llama.cpp/{_NAMES[0]}, or set ARBITER_GGUF_CONVERTER"
    )


def outtype(numbers: ExportSettings) -> str:
    """The converter's word for how numbers are stored."""
    return numbers.quantize or _OUTTYPES[numbers.stored]


def convert(converter: Path, model: Path, file: Path, *, outtype: str) -> None:
    """Convert a model's folder to a file. Raises TuningError with the converter's last line where it fails."""
    program = [sys.executable, str(converter)] if converter.suffix == ".py" else [str(converter)]
    command = [*program, str(model), "--outfile", str(file), "--outtype", outtype]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise TuningError(f"the converter {str(converter)!r} cannot be started: {error.strerror or error}") from error
    if ended.returncode or not file.is_file():
        lines = (ended.stderr.strip() or ended.stdout.strip() or "it said nothing").splitlines()
        raise TuningError(
            f"the converter {str(converter)!r} failed (exit code {ended.returncode}): {lines[-1][:_MESSAGE_CHARACTERS]}"
        )


def open_gguf(file: Path) -> Any:
    """The model of a file in float32, as transformers reads it; None for an architecture that it does not read."""
    import torch
    from transformers import AutoModelForCausalLM, GgufConfig

    # Else it counts as quantised, whatever is in it, and cannot be compared in float32.
    whole = GgufConfig(dequantize=True)
    try:
        # Its progress bar is not one that transformers can be told to leave out.
        with contextlib.redirect_stderr(io.StringIO()):
            return AutoModelForCausalLM.from_pretrained(
                file.parent, gguf_file=file.name, dtype=torch.float32, quantization_config=whole
            )
    except (ValueError, OSError, KeyError, RuntimeError) as error:
        said = " ".join(str(error).split())
        if "not supported" in said and "architecture" in said:
            return None
        raise TuningError(f"what the converter wrote cannot be read: {said[:_MESSAGE_CHARACTERS]}") from error
