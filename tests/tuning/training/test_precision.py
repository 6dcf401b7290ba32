from pathlib import Path

import pytest

from tuning.training.precision import cpu_flags


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx512_bf16 amx_bf16\nprocessor\t: 1\n", {"fpu", "avx512_bf16", "amx_bf16"}),
        ("processor\t: 0\nFeatures\t: fp asimd\n", set()),
    ],
)
def test_the_flags_are_those_of_the_first_processor(tmp_path: Path, text: str, flags: set[str]) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert cpu_flags(tmp_path / "cpuinfo") == flags


def test_a_system_without_the_file_has_no_flags(tmp_path: Path) -> None:
    assert cpu_flags(tmp_path / "cpuinfo") == set()
