from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from fakes.files import pdf_file, zip_file

from rag.documents.limits import Limits
from rag.documents.load import load_documents
from rag.documents.worker import borrow_worker
from rag.errors import RagError

# Parsing this takes many seconds.
SLOW_HTML = b"<p>x</p>" * 300_000
PDF = pdf_file(["Text."])


def _children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "rag.documents.child" in " ".join(child.cmdline())]


def test_a_child_is_used_again_and_two_at_once_are_two() -> None:
    with borrow_worker(Limits()) as worker:
        worker.convert("pdf", PDF, Limits())
        first = {child.pid for child in _children()}
        with borrow_worker(Limits()) as other:
            assert other is not worker
    with borrow_worker(Limits()) as again:
        assert again.convert("pdf", PDF, Limits()).text == "Text."

    assert {child.pid for child in _children()} == first


def test_a_file_that_takes_too_long_is_skipped_and_the_rest_is_read(tmp_path: Path) -> None:
    for name, data in (("a.pdf", PDF), ("b.html", SLOW_HTML), ("c.pdf", PDF)):
        (tmp_path / name).write_bytes(data)

    clock = time.monotonic()
    loaded = load_documents(tmp_path, limits=Limits(timeout_s=1.0))

    assert time.monotonic() - clock < 10
    assert [document.id for document in loaded.documents] == ["a.pdf", "c.pdf"]
    assert [(item.path, item.reason) for item in loaded.skipped] == [("b.html", "not converted within 1 s (timeout_s)")]


def test_a_crash_is_refused_and_the_next_file_gets_a_new_child() -> None:
    with borrow_worker(Limits()) as worker:
        worker.convert("pdf", PDF, Limits())
        (child,) = _children()
        threading.Timer(0.5, child.kill).start()
        with pytest.raises(RagError, match=r"its conversion crashed \(SIGKILL\)"):
            worker.convert("html", SLOW_HTML, Limits())

        assert worker.convert("pdf", PDF, Limits()).text == "Text."
        assert [other.pid for other in _children()] != [child.pid]


def test_a_file_that_needs_too_much_memory_is_refused() -> None:
    limits = Limits(max_memory_bytes=150_000_000)
    with borrow_worker(limits) as worker, pytest.raises(RagError, match=r"needs over 150\.0 MB of memory"):
        worker.convert("xlsx", zip_file({"xl/a.xml": bytes(range(256)) * 400_000}, compression=0), limits)


def test_an_interrupt_ends_the_child_with_the_program(tmp_path: Path) -> None:
    (tmp_path / "slow.html").write_bytes(SLOW_HTML)
    program = f"from rag.documents.load import load_documents; load_documents({str(tmp_path)!r})"
    process = subprocess.Popen([sys.executable, "-c", program], stderr=subprocess.PIPE, cwd=Path(__file__).parents[3])
    deadline = time.monotonic() + 30
    while not (children := psutil.Process(process.pid).children()) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)

    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)

    assert process.returncode == -signal.SIGINT
    assert b"KeyboardInterrupt" in errors
    assert [child for child in children if child.is_running()] == []


def test_a_child_whose_parent_is_killed_ends_too() -> None:
    program = (
        "import os, signal; from rag.documents.limits import Limits; from rag.documents.worker import borrow_worker\n"
        f"with borrow_worker(Limits()) as worker: worker.convert('pdf', {PDF!r}, Limits())\n"
        "print('ready', flush=True); signal.pause()"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=Path(__file__).parents[3])
    assert process.stdout
    assert process.stdout.readline() == b"ready\n"
    (child,) = psutil.Process(process.pid).children()

    os.kill(process.pid, signal.SIGKILL)
    process.communicate()

    psutil.wait_procs([child], timeout=10)
    assert not child.is_running()
