import errno
import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors.numpy import save_file

from storage.errors import StorageError
from storage.files import refuse_full_disk
from storage.folders import (
    delete_folder,
    is_complete,
    publish,
    read_manifest,
    sweep_drafts,
    write_files,
    write_manifest,
)
from storage.hashes import content_hash, hash_files


def publish_text(final: Path, text: str) -> None:
    with publish(final) as folder:
        (folder / "text").write_text(text)
        write_manifest(folder, {"length": len(text)})


def test_a_published_directory_is_complete_and_alone(tmp_path: Path) -> None:
    final = tmp_path / "parent" / "thing@1"
    with publish(final) as folder:
        assert folder.parent == final.parent
        assert folder.name.startswith(f".thing@1.tmp-{os.getpid()}-")
        (folder / "sub").mkdir()
        (folder / "sub" / "text").write_text("hello")
        assert not final.exists()
        write_manifest(folder, {"n": 1})
    assert read_manifest(final) == {"n": 1}
    assert (final / "sub" / "text").read_text() == "hello"
    assert [path.name for path in final.parent.iterdir()] == ["thing@1"]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_whoever_may_read_the_manifest_may_read_all_files(tmp_path: Path, umask: int, mode: int) -> None:
    outside = tmp_path / "outside"
    outside.write_text("given")
    outside.chmod(0o600)
    before = os.umask(umask)
    try:
        with publish(tmp_path / "model") as folder:
            (folder / "part").mkdir()
            save_file({"a": np.zeros(2)}, folder / "part" / "model.safetensors")
            (folder / "link").symlink_to(outside)
            write_manifest(folder, {})
    finally:
        os.umask(before)
    found = (tmp_path / "model" / name for name in ("part/model.safetensors", "manifest.json"))
    assert [stat.S_IMODE(path.stat().st_mode) for path in found] == [mode, mode]
    assert stat.S_IMODE(outside.stat().st_mode) == 0o600
    assert (tmp_path / "model" / "part" / "model.safetensors").is_file()


def test_an_existing_complete_directory_is_kept(tmp_path: Path) -> None:
    publish_text(tmp_path / "a", "first")
    publish_text(tmp_path / "a", "second")
    assert (tmp_path / "a" / "text").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_an_existing_torn_directory_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "leftover").write_text("x")
    publish_text(tmp_path / "a", "whole")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["manifest.json", "text"]


def test_an_exception_leaves_nothing_behind(tmp_path: Path) -> None:
    def interrupted() -> None:
        with publish(tmp_path / "a") as folder:
            (folder / "text").write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_a_body_that_forgets_the_manifest_is_our_mistake(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="manifest"), publish(tmp_path / "a") as folder:
        (folder / "text").write_text("x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a device that is always full")
def test_a_full_disk_is_a_plain_error_and_leaves_nothing_behind(tmp_path: Path) -> None:
    def written_to_a_full_disk() -> None:
        with publish(tmp_path / "a") as folder:
            (folder / "text").symlink_to("/dev/full")
            (folder / "text").write_text("x")

    with pytest.raises(StorageError, match=r"disk full while writing .*free some space and run the same command again"):
        written_to_a_full_disk()
    assert list(tmp_path.iterdir()) == []


def test_the_libraries_words_for_a_full_disk_are_understood(tmp_path: Path) -> None:
    from safetensors import SafetensorError

    errors = [
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
        shutil.Error([("a", "b", "[Errno 28] No space left on device: 'a' -> 'b'")]),
    ]
    for error in errors:
        with pytest.raises(StorageError, match="disk full"), refuse_full_disk(tmp_path / "not" / "there"):
            raise error


@pytest.mark.parametrize(
    "words",
    [
        "[enforce fail at inline_container.cc:672] . unexpected pos 64 vs 0",
        "basic_ios::clear: iostream error",
        "PytorchStreamWriter failed writing file data/3",
    ],
)
def test_torch_says_only_that_it_failed_so_the_disk_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    with pytest.raises(RuntimeError, match=re.escape(words)), refuse_full_disk(tmp_path):
        raise RuntimeError(words)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=4096))
    with pytest.raises(StorageError, match="disk full"), refuse_full_disk(tmp_path / "not" / "there"):
        raise RuntimeError(words)


@pytest.mark.parametrize("error", [PermissionError(errno.EACCES, "Permission denied"), RuntimeError("shapes differ")])
def test_other_errors_stay_what_they_are(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)), refuse_full_disk(tmp_path):
        raise error


@pytest.mark.parametrize("content", [None, b"", b'{"a": 1', b"[]", b"\xff"])
def test_a_missing_or_torn_manifest_is_refused(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_bytes(content)
    assert not is_complete(tmp_path)
    with pytest.raises(StorageError, match=r"manifest.json.*make it again"):
        read_manifest(tmp_path)


def test_a_manifest_is_replaced_as_a_whole(tmp_path: Path) -> None:
    write_manifest(tmp_path, {"a": "é"})
    with pytest.raises(TypeError):
        write_manifest(tmp_path, {"a": object()})
    assert read_manifest(tmp_path) == {"a": "é"}


def test_the_hash_tells_where_one_part_ends() -> None:
    assert content_hash("ab", "c") != content_hash("a", "bc")
    assert content_hash("é") == content_hash("é".encode())
    # sha256 of eight zero bytes and nothing: `printf '\0\0\0\0\0\0\0\0' | sha256sum`
    assert content_hash("") == "af5570f5a1810b7af78caf4bc70a660f0df51e42baf91d4de5b2328de0e83dfc"


def test_files_are_hashed_by_relative_path_without_the_manifest(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b").write_bytes(b"abc")
    write_manifest(tmp_path, {})
    # The FIPS 180-2 example for "abc".
    assert hash_files(tmp_path) == {"sub/b": "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}


PUBLISHER = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
from storage.folders import publish
with publish(Path(sys.argv[1])) as folder:
    (folder / "text").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


def test_a_deleted_folder_is_gone_by_its_name_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("whole", "torn"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    delete_folder(tmp_path / "whole")
    delete_folder(tmp_path / "whole")
    # As it is left by a kill before the files are gone.
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    delete_folder(tmp_path / "torn")
    monkeypatch.undo()
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".torn.tmp-")
    sweep_drafts(tmp_path)
    assert [*tmp_path.iterdir()] == []


def test_the_sweep_removes_what_a_killed_process_left_and_nothing_else(tmp_path: Path) -> None:
    for name in ("other", ".hidden", ".a.tmp-x"):
        (tmp_path / name).mkdir()
    process = subprocess.Popen([sys.executable, "-c", PUBLISHER, str(tmp_path / "a")], stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    (temporary,) = tmp_path.glob(".a.tmp-*-*")
    sweep_drafts(tmp_path)
    assert temporary.exists(), "its writer is alive"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    sweep_drafts(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.tmp-x", ".hidden", "other"]


def test_a_manifest_is_plain_json_for_people(tmp_path: Path) -> None:
    write_manifest(tmp_path, {"a": [1]})
    assert json.loads((tmp_path / "manifest.json").read_text()) == {"a": [1]}
    assert (tmp_path / "manifest.json").read_text().endswith("\n")


FILES = {"a.txt": "one", "inner/b.txt": "two"}


def listed(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): p.read_text() for p in folder.rglob("*") if p.is_file()}


def test_a_new_folder_holds_all_files(tmp_path: Path) -> None:
    paths = write_files(tmp_path / "deep" / "new", FILES)
    assert listed(tmp_path) == {"deep/new/a.txt": "one", "deep/new/inner/b.txt": "two"}
    assert [path.relative_to(tmp_path / "deep" / "new").as_posix() for path in paths] == list(FILES)


def test_files_beside_them_stay(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("kept")
    write_files(tmp_path, FILES)
    assert listed(tmp_path) == {**FILES, "mine.txt": "kept"}


def test_files_are_copied_beside_the_texts(tmp_path: Path) -> None:
    given = tmp_path / "given.bin"
    given.write_bytes(b"\x00\xff")
    written = write_files(tmp_path / "new", {"a.txt": "a"}, copies={"docs/b.bin": given})
    assert written == (tmp_path / "new" / "a.txt",)
    assert (tmp_path / "new" / "docs" / "b.bin").read_bytes() == b"\x00\xff"
    with pytest.raises(StorageError, match=r"has docs/b.bin already"):
        write_files(tmp_path / "new", {"c.txt": "c"}, copies={"docs/b.bin": given})


def test_what_cannot_be_copied_is_said_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot copy '.*gone.txt': No such file"):
        write_files(tmp_path / "new", {"a.txt": "a"}, copies={"b.txt": tmp_path / "gone.txt"})
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten_unless_told_to(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(StorageError, match=r"has a\.txt already; give another folder, or --force"):
        write_files(tmp_path, FILES)
    assert listed(tmp_path) == {"a.txt": "old"}
    write_files(tmp_path, FILES, is_forced=True)
    assert listed(tmp_path) == FILES


@pytest.mark.parametrize("is_new", [True, False])
def test_files_that_fail_the_check_leave_nothing_behind(tmp_path: Path, is_new: bool) -> None:
    folder = tmp_path / "out"
    if not is_new:
        folder.mkdir()
        (folder / "a.txt").write_text("old")

    def refuse(written: Path) -> None:
        raise StorageError(f"{written / 'a.txt'}: not good")

    # The fault names the file where it would be, not where it was for a moment.
    with pytest.raises(StorageError, match=f"^{folder / 'a.txt'}: not good$"):
        write_files(folder, FILES, is_forced=True, check=refuse)
    assert listed(tmp_path) == ({} if is_new else {"out/a.txt": "old"})
    assert [path.name for path in tmp_path.iterdir()] == ([] if is_new else ["out"])


@pytest.mark.parametrize(
    ("where", "text", "fault"),
    [
        ("file", "x", "is a file; give a folder"),
        ("file/below", "x", "cannot write to"),
        ("out", "\ud800", "half a character"),
    ],
)
def test_what_cannot_be_written_is_one_line(tmp_path: Path, where: str, text: str, fault: str) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match=fault):
        write_files(tmp_path / where, {"a.txt": text})
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
