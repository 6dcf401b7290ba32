import pytest

from serving.errors import Invalid
from serving.http.body import decode


@pytest.mark.parametrize("raw", [b"", b"{", b"NaN", b"[1e999]", b'"\\ud800"', b"\xff", b"[" * 100_000])
def test_what_cannot_be_written_again_is_refused(raw: bytes) -> None:
    with pytest.raises(Invalid, match="line 3 is not valid JSON") as refused:
        decode(raw, "line 3", param="content")
    assert refused.value.param == "content"


def test_a_byte_order_mark_is_no_part_of_the_text() -> None:
    assert decode(b'\xef\xbb\xbf{"a": 1}', "the body") == {"a": 1}


def test_large_whole_numbers_stay_exact() -> None:
    assert decode(b'{"a": 12345678901234567890123}', "the body") == {"a": 12345678901234567890123}
