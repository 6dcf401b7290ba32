import hashlib
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from python_multipart.exceptions import FormParserError
from starlette.formparsers import MultiPartParser
from starlette.requests import Request

from serving.errors import Invalid, TooLarge
from serving.vector_stores.uploads import receive_upload, safe_name


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("notes.txt", "notes.txt"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\ada\\plan.docx", "plan.docx"),
        ("/", ""),
        ("..", ""),
        (" ", ""),
        ("a\u202egnp.exe", "agnp.exe"),
        ("line\nbreak\x00.md", "linebreak.md"),
        ("Öffnungszeiten – Bücherei.pdf", "Öffnungszeiten – Bücherei.pdf"),
        ("x" * 300 + ".pdf", "x" * 251 + ".pdf"),
        ("ü" * 300 + ".pdf", "ü" * 125 + ".pdf"),
        (".hidden", ".hidden"),
    ],
)
def test_a_name_is_shown_without_its_folders_and_what_cannot_be_seen(given: str, shown: str) -> None:
    assert safe_name(given) == shown


def request(pieces: Iterator[bytes]) -> Request:
    async def receive() -> dict[str, object]:
        piece = next(pieces, None)
        return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}

    headers = [(b"content-type", b"multipart/form-data; boundary=cut")]
    return Request({"type": "http", "method": "POST", "path": "/v1/files", "headers": headers}, receive)


HEAD = b'--cut\r\nContent-Disposition: form-data; name="file"; filename="big.bin"\r\n\r\n'
TAIL = b'\r\n--cut\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nassistants\r\n--cut--\r\n'


async def test_a_large_file_is_never_in_memory_whole(tmp_path: Path) -> None:
    piece, num_pieces = b"\r\n--c" * 16_384, 512
    pieces = iter((HEAD, *[piece] * num_pieces, TAIL))
    tracemalloc.start()
    try:
        upload = await receive_upload(request(pieces), tmp_path / "x", max_bytes=2**30)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert upload.num_bytes == (tmp_path / "x").stat().st_size == len(piece) * num_pieces == 41_943_040
    assert upload.sha256 == hashlib.sha256(piece * num_pieces).hexdigest()
    assert (upload.filename, upload.purpose) == ("big.bin", "assistants")
    assert peak < 8 * 2**20


@pytest.mark.parametrize("cut", [1, 7, 64, 1_000])
async def test_pieces_may_end_anywhere(tmp_path: Path, cut: int) -> None:
    body = HEAD + b"one\r\n--cu two\r\n" + TAIL
    pieces = iter([body[start : start + cut] for start in range(0, len(body), cut)])
    upload = await receive_upload(request(pieces), tmp_path / "x", max_bytes=100)
    assert (tmp_path / "x").read_bytes() == b"one\r\n--cu two\r\n"
    assert upload.num_bytes == 15


async def test_a_fault_that_starlette_does_not_translate_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def parse(_self: MultiPartParser) -> None:
        raise FormParserError("no boundary")

    monkeypatch.setattr(MultiPartParser, "parse", parse)
    with pytest.raises(Invalid, match="cannot be read: no boundary"):
        await receive_upload(request(iter([HEAD])), tmp_path / "x", max_bytes=100)


async def test_a_body_that_never_ends_is_not_read_forever(tmp_path: Path) -> None:
    num_read = 0

    def endless() -> Iterator[bytes]:
        nonlocal num_read
        yield HEAD
        while True:
            num_read += 1
            yield b"x" * 1_000

    with pytest.raises(TooLarge, match="over the limit of 5,000 bytes") as refused:
        await receive_upload(request(endless()), tmp_path / "x", max_bytes=5_000)
    assert refused.value.param == "file"
    assert num_read < 12
