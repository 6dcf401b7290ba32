from pathlib import Path

import pytest

from storage.errors import StorageError
from storage.jsonl import scan_jsonl, sound_rows


def written(folder: Path, content: bytes) -> Path:
    path = folder / "rows.jsonl"
    path.write_bytes(content)
    return path


def test_rows_come_with_their_line_numbers_and_blank_lines_count(tmp_path: Path) -> None:
    path = written(tmp_path, b'{"a": 1}\n\n   \r\n{"a": 2}')
    assert list(scan_jsonl(path)) == [(1, {"a": 1}), (4, {"a": 2})]


def test_a_byte_order_mark_is_accepted(tmp_path: Path) -> None:
    assert list(scan_jsonl(written(tmp_path, b'\xef\xbb\xbf{"a": "\xc3\xa9"}\n'))) == [(1, {"a": "é"})]


def test_a_line_separator_inside_a_string_is_no_line_break(tmp_path: Path) -> None:
    assert list(scan_jsonl(written(tmp_path, '{"a": "x\u2028y"}\n{"a": 2}'.encode()))) == [
        (1, {"a": "x\u2028y"}),
        (2, {"a": 2}),
    ]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b'{"a": 1', "not valid JSON"),
        (b"{'a': 1}", "not valid JSON"),
        (b'{"a": 1} {"a": 2}', "not valid JSON"),
        (b"[1, 2]", "a JSON array where an object is needed"),
        (b'"text"', "a JSON string where"),
        (b"null", "a JSON null where"),
        (b"true", "a JSON boolean where"),
        (b"3.5", "a JSON number where"),
        (b'{"a": "\xff"}', "not UTF-8 (byte 0xff at 8)"),
        ('{"a": 1}'.encode("utf-16"), "not UTF-8"),
        (b'{"a": "\\ud800"}', "hex escape"),
        (b"[" * 100_000, "recursion limit"),
    ],
)
def test_a_malformed_line_yields_its_fault(tmp_path: Path, line: bytes, fault: str) -> None:
    first, second = scan_jsonl(written(tmp_path, b'{"a": 1}\n' + line + b"\n"))
    assert first == (1, {"a": 1})
    assert second[0] == 2
    assert fault in str(second[1])


def test_a_whole_surrogate_pair_is_one_character(tmp_path: Path) -> None:
    assert list(scan_jsonl(written(tmp_path, b'{"a": "\\ud83d\\ude00"}'))) == [(1, {"a": "😀"})]


def test_scan_goes_on_after_a_faulty_line(tmp_path: Path) -> None:
    rows = list(scan_jsonl(written(tmp_path, b'{\n{"a": 1}\n[]\n')))
    assert [line for line, row in rows if isinstance(row, str)] == [1, 3]
    assert rows[1] == (2, {"a": 1})


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"no file .*gone\.jsonl"):
        list(scan_jsonl(tmp_path / "gone.jsonl"))
    with pytest.raises(StorageError, match="cannot read"):
        list(scan_jsonl(tmp_path))


def sound(*rows: int | str) -> tuple[int, ...]:
    numbered = enumerate(rows, start=1)
    return sound_rows(Path("t.jsonl"), numbered, called="numbers", like="1", error=StorageError)


def test_ten_faults_are_listed_and_the_rest_counted() -> None:
    assert sound(3, 4) == (3, 4)
    with pytest.raises(StorageError, match=r"^t\.jsonl: 1 faulty numbers: line 2: bad$"):
        sound(3, "bad")
    with pytest.raises(
        StorageError, match=r"^t\.jsonl: 12 faulty numbers: line 1: bad 0; .*; line 10: bad 9 and 2 more$"
    ):
        sound(*(f"bad {i}" for i in range(12)))


def test_a_fault_is_said_once_with_the_lines_that_have_it() -> None:
    with pytest.raises(StorageError, match=r"^t\.jsonl: 4 faulty numbers: lines 1, 3, 4: bad; line 2: worse$"):
        sound("bad", "worse", "bad", "bad")
    with pytest.raises(StorageError, match=r"^t\.jsonl: 12 faulty numbers: lines 1, 2, 3, 4, 5 and 7 more: bad$"):
        sound(*["bad"] * 12)


def test_a_file_without_rows_is_told_what_they_are_like() -> None:
    with pytest.raises(StorageError, match=r"^t\.jsonl holds no numbers; add rows like 1$"):
        sound()
