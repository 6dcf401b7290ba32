import sys
from pathlib import Path

import pytest

from tuning.errors import TuningError
from tuning.exchange.gguf import convert, find_converter, missing_converter, outtype
from tuning.exchange.settings import ExportSettings


def script(folder: Path, body: str, name: str = "convert_hf_to_gguf.py") -> Path:
    path = folder / name
    path.write_text(f"#!{sys.executable}\nimport sys\n{body}\n")
    path.chmod(0o755)
    return path


def test_a_converter_is_the_one_given_or_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_converter(None) is None
    path = script(tmp_path, "")
    assert find_converter(None) == path
    other = script(tmp_path, "", "mine.py")
    assert find_converter(other) == other
    with pytest.raises(TuningError, match=r"no converter '/nowhere/convert.py'; give the path of llama.cpp's"):
        find_converter(Path("/nowhere/convert.py"))
    assert "set ARBITER_GGUF_CONVERTER" in str(missing_converter())


@pytest.mark.parametrize("name", ["convert_hf_to_gguf.py", "convert-hf-to-gguf"])
def test_it_is_told_folder_file_and_type(name: str, tmp_path: Path) -> None:
    path = script(tmp_path, "open(sys.argv[3], 'w').write(' '.join(sys.argv[1:]))", name)
    convert(path, tmp_path / "model", tmp_path / "x.gguf", outtype="bf16")
    told = (tmp_path / "x.gguf").read_text()
    assert told == f"{tmp_path / 'model'} --outfile {tmp_path / 'x.gguf'} --outtype bf16"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("sys.exit('Model OddForCausalLM is not supported')", r"failed \(exit code 1\): Model OddForCausalLM is not"),
        ("pass", r"failed \(exit code 0\): it said nothing"),
    ],
)
def test_its_last_line_is_said_where_it_fails(body: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(TuningError, match=said):
        convert(script(tmp_path, body), tmp_path, tmp_path / "x.gguf", outtype="f32")


def test_one_that_cannot_be_started_is_said(tmp_path: Path) -> None:
    path = tmp_path / "converter"
    path.write_text("no program")
    with pytest.raises(TuningError, match="cannot be started: Permission denied"):
        convert(path, tmp_path, tmp_path / "x.gguf", outtype="f32")


def test_the_types_have_the_converters_names() -> None:
    numbers = (ExportSettings(format="gguf"), ExportSettings(format="gguf", dtype="bfloat16"))
    assert [outtype(one) for one in (*numbers, ExportSettings(format="gguf", quantize="q8_0"))] == [
        "f32",
        "bf16",
        "q8_0",
    ]
