from __future__ import annotations

import io
import stat
import zipfile
from pathlib import Path

import pytest
from fakes.files import docx_file, pdf_file, xlsx_file, zip_file

from rag.documents.limits import Limits
from rag.documents.load import load_documents, read_upload
from rag.documents.sources import find_sources, read_sources
from rag.errors import RagError

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
PAGE = b"\n<!DOCTYPE html><html><body>Log in.</body></html>"


def _write(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def _ids(path: Path | str) -> list[str]:
    return [document.id for document in load_documents(path).documents]


@pytest.mark.parametrize(
    ("pattern", "ids"),
    [
        ("docs/*.md", ["a"]),
        ("docs/**/*.md", ["a", "sub/c"]),
        ("docs/*", ["a", "b", "sub/c"]),
        ("docs/**", ["a", "b", "sub/c"]),
        ("docs/[ab].*", ["a", "b"]),
        ("docs/su?/*.md", ["sub/c"]),
        ("*/a.md", ["docs/a"]),
    ],
)
def test_a_pattern_gives_files_relative_to_its_fixed_part(tmp_path: Path, pattern: str, ids: list[str]) -> None:
    _write(tmp_path, {"docs/a.md": b"A", "docs/b.txt": b"B", "docs/sub/c.md": b"C", "docs/.git/d.md": b"D"})
    (tmp_path / "docs" / "sub" / "loop").symlink_to(tmp_path)

    assert sorted(_ids(tmp_path / pattern)) == ids


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    _write(tmp_path, {"a[1].txt": b"A", "a1.txt": b"B"})

    assert _ids(tmp_path / "a[1].txt") == ["a[1]"]


def test_a_pattern_that_matches_nothing_and_one_that_is_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RagError, match="no documents in"):
        load_documents(tmp_path / "*.md")
    with pytest.raises(RagError, match="no folder or file"):
        load_documents(tmp_path / "missing" / "*.md")
    with pytest.raises(RagError, match=r"'\*\*x' is no pattern"):
        load_documents(tmp_path / "**x")


@pytest.mark.slow
def test_a_zip_is_read_as_a_folder_is(tmp_path: Path) -> None:
    files = {"docs/b.md": b"# B\n\nBody.", "a.txt": b"A", "docs/c.docx": docx_file(), "win\\d.txt": b"D"}
    _write(tmp_path, {"all.zip": zip_file(files), "more/some.ZIP": zip_file({"x.txt": b"X"})})

    assert _ids(tmp_path / "all.zip") == ["a", "docs/b", "docs/c.docx", "win/d"]
    assert _ids(tmp_path) == ["all.zip/a", "all.zip/docs/b", "all.zip/docs/c.docx", "all.zip/win/d", "more/some.ZIP/x"]


def _member(name: str, mode: int) -> zipfile.ZipInfo:
    member = zipfile.ZipInfo(name)
    member.external_attr = mode << 16
    return member


def test_members_that_are_not_plain_files_of_the_archive_are_skipped_and_the_rest_is_read(tmp_path: Path) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("../up.txt", "/etc/abs.txt", "C:/drive.txt", "..\\back.txt", "good.txt", ".hid/h.txt", "a.exe"):
            archive.writestr(name, "text")
        archive.writestr(_member("link.txt", stat.S_IFLNK | 0o777), "/etc/passwd")
        archive.writestr(_member("pipe.txt", stat.S_IFIFO | 0o600), "")
        archive.writestr("inner.zip", zip_file({"deep.txt": "x"}))
        archive.writestr("bomb.txt", b"\x00" * 30_000_000)
        archive.writestr("locked.txt", "secret")
    data = bytearray(stream.getvalue())
    # The flag of encryption in the central directory, as an encrypting zip program sets it.
    data[data.rindex(b"locked.txt") - 46 + 8] |= 1
    (tmp_path / "a.zip").write_bytes(data)

    loaded = load_documents(tmp_path / "a.zip")

    assert [document.id for document in loaded.documents] == ["good"]
    leads_out = "its path leads out of the archive"
    assert {item.path: item.reason for item in loaded.skipped} == {
        "../back.txt": leads_out,
        "../up.txt": leads_out,
        "/etc/abs.txt": leads_out,
        "C:/drive.txt": leads_out,
        ".hid/h.txt": "hidden file",
        "a.exe": ".exe: kind not read",
        "bomb.txt": "unpacks to 1028 times its size, over the limit of 200 (max_archive_ratio)",
        "inner.zip": "an archive within an archive, not opened",
        "link.txt": "a link, not followed",
        "locked.txt": "encrypted; unpack it with its password",
        "pipe.txt": "not a regular file",
    }


def test_a_member_that_is_torn_or_holds_more_than_it_states_is_skipped(tmp_path: Path) -> None:
    data = bytearray(zip_file({"a.txt": b"first text", "b.txt": b"other text"}, compression=zipfile.ZIP_STORED))
    data[data.index(b"first")] ^= 1
    # The stated size of b.txt, in the central directory: half of what it holds.
    place = data.rindex(b"b.txt") - 46 + 24
    data[place : place + 4] = (5).to_bytes(4, "little")
    (tmp_path / "a.zip").write_bytes(data)
    (tmp_path / "good.txt").write_bytes(b"Good.")

    loaded = load_documents(tmp_path)

    assert [document.id for document in loaded.documents] == ["good"]
    assert [item.path for item in loaded.skipped] == ["a.zip/a.txt", "a.zip/b.txt"]
    assert all(item.reason.startswith("cannot be unpacked: Bad CRC-32") for item in loaded.skipped)


@pytest.mark.parametrize(
    ("data", "limits", "reason"),
    [
        (b"PK\x03\x04 torn", Limits(), "not a whole zip archive"),
        (
            zip_file({f"{n}.txt": "x" for n in range(4)}),
            Limits(max_archive_files=3),
            "holds 4 files, over the limit of 3",
        ),
        (
            zip_file({"a.txt": b"x" * 2000}),
            Limits(max_archive_bytes=1000),
            "unpacks to 2000 bytes, over the limit of 1000",
        ),
        (zip_file({"big.docx": zip_file({"word/document.xml": b" " * 9_000_000})}), Limits(), "unpacks to"),
    ],
)
def test_an_archive_over_a_limit_is_skipped_whole_and_the_rest_is_read(
    tmp_path: Path, data: bytes, limits: Limits, reason: str
) -> None:
    _write(tmp_path, {"a.zip": data, "good.txt": b"Good."})

    loaded = load_documents(tmp_path, limits=limits)

    assert [document.id for document in loaded.documents] == ["good"]
    assert reason in loaded.skipped[0].reason


def test_many_archives_are_read_with_few_open_files(tmp_path: Path) -> None:
    _write(tmp_path, {f"{number}.zip": zip_file({"a.txt": str(number)}) for number in range(20)})
    sources = find_sources(tmp_path, Limits())

    texts, opened = set(), []
    for _, data in read_sources(sources, Limits()):
        texts.add(data)
        opened += [str(link.readlink()) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]

    assert texts == {str(number).encode() for number in range(20)}
    assert sum(name.endswith(".zip") for name in opened) == 20


def test_an_absolute_name_in_an_archive_is_shown_under_the_archive(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(zip_file({"/root.txt": "x"}))

    assert [source.path for source in find_sources(tmp_path, Limits())] == ["a.zip/root.txt"]


def test_a_name_that_would_move_a_terminal_s_text_is_shown_escaped(tmp_path: Path) -> None:
    for name in ("new\nline.txt", "red\x1b[31m.txt", "rtl\u202etxt.txt", "größe 日本.txt"):
        (tmp_path / name).write_text("x")

    assert sorted(document.id for document in load_documents(tmp_path).documents) == [
        "größe 日本",
        "new\\nline",
        "red\\x1b[31m",
        "rtl\\u202etxt",
    ]


def test_the_lock_of_an_open_office_file_is_hidden(tmp_path: Path) -> None:
    (tmp_path / "~$rules.docx").write_bytes(b"\x05Ada" * 40)

    assert [source.reason for source in find_sources(tmp_path, Limits())] == ["hidden file"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.txt", pdf_file(["x"]), "not txt but a PDF; give it the suffix .pdf"),
        ("a.csv", xlsx_file({"A": [["x"]]}), "not csv but a zip archive or an Office file"),
        ("a.md", OLE, "not md but an old Office file"),
        ("a.txt", b"{\\rtf1 x}", "not txt but an RTF file; save it as .docx"),
        ("a.html", b"\x89PNG\r\n", "not html but an image"),
        ("a.jsonl", b"\x1f\x8b\x08", "not jsonl but compressed (gzip); unpack it first"),
        ("a.docx", pdf_file(["x"]), "not docx but a PDF; give it the suffix .pdf"),
        ("a.docx", xlsx_file({"A": [["x"]]}), "not docx but xlsx; give it the suffix .xlsx"),
        ("a.xlsx", docx_file(), "not xlsx but docx; give it the suffix .docx"),
        ("a.pdf", PAGE, "not pdf but a web page; give it the suffix .html"),
        ("a.pptx", PAGE, "not pptx but a web page; give it the suffix .html"),
        ("a.xlsx", b"a,b\n1,2\n", "no xlsx file"),
        ("a.docx", zip_file({"a.txt": "x"}), "corrupt, or no docx file"),
    ],
)
def test_a_file_of_another_kind_than_its_suffix_says_is_called_what_it_is(
    tmp_path: Path, name: str, data: bytes, reason: str
) -> None:
    (tmp_path / "file").write_bytes(data)

    with pytest.raises(RagError) as caught:
        read_upload(name, tmp_path / "file", document_id="a")

    assert str(caught.value).startswith(f"{name!r}: {reason}")


@pytest.mark.parametrize(("name", "data"), [("a.txt", PAGE), ("a.pdf", b"HTTP/1.1 200 OK\r\n\r\n" + pdf_file(["x"]))])
def test_what_may_begin_so_is_read(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)

    assert read_upload(name, tmp_path / "file", document_id="a").text
