from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
from fakes.files import pdf_file, zip_file

from rag.documents.child import convert_in_child
from rag.documents.limits import Limits
from rag.documents.load import load_documents
from rag.errors import RagError

# Parsing this takes many seconds.
SLOW_HTML = b"<p>x</p>" * 300_000
PDF = pdf_file(["Text."])


def _children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "rag.documents.child" in " ".join(child.cmdline())]


@pytest.mark.slow
def test_a_child_is_used_again_and_two_at_once_are_two() -> None:
    convert_in_child("pdf", PDF, Limits())
    first = {child.pid for child in _children()}
    assert convert_in_child("pdf", PDF, Limits()).text == "Text."
    assert {child.pid for child in _children()} == first

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda _: convert_in_child("html", SLOW_HTML[:100_000], Limits()), range(2)))
    assert len(_children()) >= 2


@pytest.mark.slow
def test_a_file_that_takes_too_long_is_skipped_and_the_rest_is_read(tmp_path: Path) -> None:
    for name, data in (("a.pdf", PDF), ("b.html", SLOW_HTML), ("c.pdf", PDF)):
        (tmp_path / name).write_bytes(data)

    clock = time.monotonic()
    loaded = load_documents(tmp_path, limits=Limits(timeout_s=1.0))

    assert time.monotonic() - clock < 10
    assert [document.id for document in loaded.documents] == ["a.pdf", "c.pdf"]
    assert [(item.path, item.reason) for item in loaded.skipped] == [("b.html", "not converted within 1 s (timeout_s)")]


@pytest.mark.slow
def test_a_crash_is_refused_and_the_next_file_gets_a_new_child() -> None:
    convert_in_child("pdf", PDF, Limits())
    killed = _children()
    threading.Timer(0.5, lambda: [child.kill() for child in killed]).start()
    with pytest.raises(RagError, match=r"its conversion crashed \(SIGKILL\)"):
        convert_in_child("html", SLOW_HTML, Limits())

    assert convert_in_child("pdf", PDF, Limits()).text == "Text."
    assert {child.pid for child in _children()}.isdisjoint(child.pid for child in killed)


@pytest.mark.slow
def test_a_file_that_needs_too_much_memory_is_refused() -> None:
    limits = Limits(max_memory_bytes=150_000_000)
    with pytest.raises(RagError, match=r"needs over 150\.0 MB of memory"):
        convert_in_child("xlsx", zip_file({"xl/a.xml": bytes(range(256)) * 400_000}, compression=0), limits)
    assert convert_in_child("pdf", PDF, Limits()).text == "Text."


@pytest.mark.slow
def test_an_interrupt_ends_the_child_with_the_program(tmp_path: Path) -> None:
    (tmp_path / "slow.html").write_bytes(SLOW_HTML)
    program = f"from rag.documents.load import load_documents; load_documents({str(tmp_path)!r})"
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stderr=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
        # Tests that run in the background of a shell ignore interrupts, and so would what they start.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 30
    while not (children := psutil.Process(process.pid).children()) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)

    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)

    assert process.returncode == -signal.SIGINT
    assert b"KeyboardInterrupt" in errors
    assert [child for child in children if child.is_running()] == []


@pytest.mark.slow
def test_a_child_whose_parent_is_killed_ends_too() -> None:
    program = (
        "import signal; from rag.documents.child import convert_in_child; from rag.documents.limits import Limits\n"
        f"convert_in_child('pdf', {PDF!r}, Limits())\n"
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
