from typing import Any

import pytest

from tuning.errors import TuningError
from tuning.exchange.settings import ExportSettings


@pytest.mark.parametrize(
    ("numbers", "fault"),
    [
        ({"format": "onnx"}, "format must be one of peft, safetensors, gguf, ollama, not 'onnx'"),
        ({"format": "peft", "dtype": "float16"}, "dtype (float16) must be left open with peft"),
        ({"format": "peft", "quantize": "nf4"}, "dtype (nf4) must be left open with peft"),
        ({"format": "gguf", "quantize": "int8"}, "quantize (int8) must be q8_0 or nothing with gguf"),
        ({"format": "safetensors", "quantize": "q8_0"}, "quantize (q8_0) must be nf4 or int8 with safetensors"),
        ({"format": "gguf", "quantize": "q8_0", "dtype": "float16"}, "dtype (float16) must be left open with q8_0"),
        ({"format": "gguf", "system": "Be brief."}, "system must be left out with gguf"),
    ],
)
def test_numbers_that_do_not_go_together_are_refused(numbers: dict[str, Any], fault: str) -> None:
    with pytest.raises(TuningError) as caught:
        ExportSettings(**numbers)
    assert str(caught.value).startswith(fault)


def test_float32_is_exact_and_all_else_is_rounded() -> None:
    exact = [ExportSettings(), ExportSettings(format="gguf", dtype="float32"), ExportSettings(format="peft")]
    rounded = [ExportSettings(dtype="bfloat16"), ExportSettings(quantize="nf4")]
    assert [one.is_rounded for one in (*exact, *rounded)] == [False, False, False, True, True]
