import asyncio
import errno
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
import sqlalchemy
from fakes.logs import Logged

from arbiter.cli.endings import ending
from arbiter.cli.main import Termination, run_to_the_end
from eval.errors import EvalError
from rag.errors import RagError


def wrapped(error: Exception) -> Exception:
    """As SQLAlchemy wraps what its driver raises."""
    engine = sqlalchemy.create_engine("sqlite://")

    def fail(*_: object) -> None:
        raise error

    sqlalchemy.event.listen(engine, "before_cursor_execute", fail)
    try:
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text("select 1"))
    except Exception as found:
        return found
    raise AssertionError("it did not fail")


OURS = RagError("no index 'faq'; create it with: arbiter index add faq docs/")


@pytest.mark.parametrize(
    ("error", "line", "code"),
    [
        (OURS, f"error: {OURS}", 2),
        (ExceptionGroup("unhandled errors in a TaskGroup", [OURS]), f"error: {OURS}", 2),
        (ExceptionGroup("a", [ExceptionGroup("b", [ValueError("x"), OURS])]), f"error: {OURS}", 2),
        (KeyboardInterrupt(), "interrupted; the same command goes on where it stopped", 130),
        (BaseExceptionGroup("a", [OURS, KeyboardInterrupt()]), "interrupted; the same command goes on", 130),
        (OSError(errno.ENOSPC, "No space left on device", "/x"), "error: the disk is full; free some space", 2),
        (sqlite3.OperationalError("database or disk is full"), "error: the disk is full; free some space", 2),
        (MemoryError(), "error: out of memory; ", 2),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: 4 GB"), "error: out of memory; ", 2),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "error: out of memory; ", 2),
        (PermissionError(errno.EACCES, "Permission denied", "/x/y"), "error: permission denied: '/x/y'; the trac", 2),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), "error: connection refused; the traceb", 2),
        (sqlite3.DatabaseError("file is not a database"), "error: a database cannot be read or written (file is", 2),
        (wrapped(sqlite3.OperationalError("locked")), "error: a database cannot be read or written (", 2),
        (ValueError("two\nlines"), "error: unexpected ValueError: two lines; the traceback is in '", 2),
        (ZeroDivisionError(), "error: unexpected ZeroDivisionError: no message; the traceback is in '", 2),
        (ExceptionGroup("a", [KeyError("k")]), "error: unexpected KeyError: 'k'; the traceback is in '", 2),
        (RecursionError("maximum depth"), "error: unexpected RecursionError: maximum depth; ", 2),
        (GeneratorExit(), "error: unexpected GeneratorExit: no message; ", 2),
        (ValueError("x" * 5000), "error: unexpected ValueError: xxx", 2),
    ],
)
def test_whatever_is_raised_becomes_one_line(tmp_path: Path, error: BaseException, line: str, code: int) -> None:
    found, exit_code = ending(error, tmp_path / "home" / "arbiter.log")
    assert found.startswith(line)
    assert exit_code == code
    assert "\n" not in found
    assert len(found) < 700


def test_the_traceback_is_where_the_line_says(tmp_path: Path) -> None:
    log = tmp_path / "home" / "arbiter.log"
    for text in ("the first", "the second"):
        try:
            raise ValueError(text)
        except ValueError as error:
            line, _ = ending(error, log)
        assert line.endswith(f"the traceback is in {str(log)!r}")
    written = log.read_text()
    assert written.count("Traceback (most recent call last):") == 2
    assert "ValueError: the first" in written
    assert "in test_the_traceback_is_where_the_line_says" in written


def test_a_log_that_cannot_be_written_costs_the_traceback_only(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file, no folder")
    line, code = ending(ValueError("x"), tmp_path / "home" / "arbiter.log")
    assert (line, code) == ("error: unexpected ValueError: x; ARBITER_DEBUG=1 shows the traceback", 2)


def raising(error: BaseException) -> Callable[[], None]:
    def command() -> None:
        raise error

    return command


def test_a_command_exits_with_the_code_and_prints_the_line_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ARBITER_HOME", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        run_to_the_end(raising(ExceptionGroup("tasks", [EvalError("no questions")])))
    assert (ended.value.code, capsys.readouterr().err) == (2, "error: no questions\n")
    monkeypatch.setenv("ARBITER_DEBUG", "1")
    with pytest.raises(SystemExit):
        run_to_the_end(raising(EvalError("no questions")))
    shown = capsys.readouterr().err
    assert "Traceback (most recent call last)" in shown
    assert shown.endswith("\nerror: no questions\n")


def test_without_a_data_directory_there_is_a_line_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ARBITER_HOME", "~nobody-of-this-name/x")
    with pytest.raises(SystemExit) as ended:
        run_to_the_end(raising(ValueError("x")))
    shown = capsys.readouterr().err
    assert (ended.value.code, shown) == (2, "error: unexpected ValueError: x; ARBITER_DEBUG=1 shows the traceback\n")


@pytest.mark.parametrize(
    ("code", "line"), [(130, "interrupted; the same "), (143, "terminated; the same "), (1, ""), (0, "")]
)
def test_a_stop_says_that_the_command_can_go_on(code: int, line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        run_to_the_end(raising(SystemExit(code)))
    assert ended.value.code == code
    assert capsys.readouterr().err.startswith(line)


async def wait() -> None:
    async def other() -> None:
        await asyncio.sleep(20)

    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(other())
        asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGTERM)


@pytest.mark.parametrize("is_ignored", [False, True])
def test_a_termination_ends_an_event_loop_without_a_traceback(
    is_ignored: bool, capfd: pytest.CaptureFixture[str], logged: Logged
) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    termination = Termination()
    signal.signal(signal.SIGTERM, termination)
    signal.signal(signal.SIGINT, signal.SIG_IGN if is_ignored else signal.default_int_handler)
    try:
        with pytest.raises(SystemExit) as ended:
            run_to_the_end(lambda: asyncio.run(wait()), termination)
    finally:
        signal.signal(signal.SIGTERM, before[0])
        signal.signal(signal.SIGINT, before[1])
    assert ended.value.code == 143
    assert capfd.readouterr().err == "terminated; the same command goes on where it stopped\n"
    assert is_ignored or not logged.records
