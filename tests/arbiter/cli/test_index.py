import io
import json
import sys
from pathlib import Path

import pytest
from fakes.embedders import WordEmbedder

from arbiter.cli.main import main
from arbiter.console import Console
from arbiter.index_commands import IndexCommands
from rag.home import IndexHome


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory with an index that another embedder than the default built."""
    home = tmp_path / "home"
    monkeypatch.setenv("ARBITER_HOME", str(home))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    rows = [{"id": "desk", "text": "The desk opens at nine."}, {"id": "fines", "text": "A late book costs ten cents."}]
    docs = tmp_path / "docs.jsonl"
    docs.write_text("".join(json.dumps(row) + "\n" for row in rows))
    IndexCommands(IndexHome(home), Console(stderr=io.StringIO()), make_embedder=WordEmbedder).add("faq", [docs])
    return home


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    monkeypatch.setattr(sys, "argv", ["arbiter", "index", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def result(capsys: pytest.CaptureFixture[str]) -> object:
    return json.loads(capsys.readouterr().out)


def test_help_names_every_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--help") == 0
    shown = capsys.readouterr().out
    for command in ("build", "add", "update", "delete", "list", "search", "verify", "export", "evaluate"):
        assert command in shown


def test_indexes_and_their_documents_are_listed(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "list", "--json") == 0
    assert [entry["name"] for entry in result(capsys)["indexes"]] == ["faq"]  # type: ignore[index]
    assert run(monkeypatch, "list", "faq") == 0
    assert "desk" in capsys.readouterr().out


def test_an_export_goes_to_a_file_or_to_standard_output(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "export", "faq", "-") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [row["id"] for row in rows] == ["desk", "fines"]
    assert run(monkeypatch, "export", "faq", tmp_path / "out.jsonl", "--json") == 0
    assert result(capsys)["documents"] == 2  # type: ignore[index]


def test_documents_are_deleted_by_id_and_an_index_only_when_that_is_sure(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "delete", "faq", "fines", "nope", "--json") == 0
    assert result(capsys) == {"index": "faq", "deleted": 1, "unknown": ["nope"], "documents": 1}
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))
    assert run(monkeypatch, "delete", "faq", "--all") == 2
    assert "index 'faq' is as it was; --yes deletes it without asking" in capsys.readouterr().err
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert run(monkeypatch, "delete", "faq", "--all") == 0
    assert run(monkeypatch, "delete", "faq", "--all", "--yes") == 2
    assert "no index 'faq' (there is none yet)" in capsys.readouterr().err


@pytest.mark.slow
def test_verify_exits_1_when_something_is_wrong_and_0_when_it_is_mended(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "verify") == 0
    assert "faq: sound" in capsys.readouterr().out
    views = list((home / "indexes" / "faq").iterdir())
    assert views
    for view in views:
        view.write_bytes(view.read_bytes()[:-1] + b"?")
    assert run(monkeypatch, "verify", "faq", "--json") == 1
    assert result(capsys)["sound"] is False  # type: ignore[index]
    assert run(monkeypatch, "verify", "--repair") == 0
    assert run(monkeypatch, "verify") == 0


def test_an_update_offers_nothing_that_only_a_new_index_takes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "update", "--help") == 0
    assert "new index" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["delete", "faq"], "give the ids of documents to delete, or --all"),
        (["delete", "faq", "desk", "--all"], "give the ids of documents to delete, or --all"),
        (["list", "lake"], "no index 'lake' (there is faq)"),
        (["search", "lake", "desk"], "no index 'lake' (there is faq)"),
        (["search", "faq", " "], "the query is empty: ' '; give a question or words"),
        (["add", "faq", ""], "the path '' is empty"),
        (["update", "faq", ""], "the path '' is empty"),
        (["search", "faq", "desk", "--filter", "{torn"], "--filter is no JSON"),
        (["search", "faq", "desk", "--dense-weight", "2"], "dense_weight must be a number from 0 to 1, not 2.0"),
        (["export", "lake", "-"], "no index 'lake'"),
        (["evaluate", "faq"], "no questions given; add --questions FILE"),
        (["evaluate", "faq", "seed=1", "--questions", "q.jsonl"], "'seed=1' overrides a config"),
        (["evaluate", "none.yaml"], "no config file 'none.yaml'"),
        (["build"], "no config given; for example: arbiter index build configs/demo.yaml"),
        (["list", "--config", "none.yaml"], "no config file 'none.yaml'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    message: str,
) -> None:
    assert run(monkeypatch, *words) == 2
    streams = capsys.readouterr()
    assert streams.out == ""
    last = streams.err.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert message in last


@pytest.mark.model
def test_an_index_is_made_updated_searched_and_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ARBITER_HOME", str(tmp_path / "home"))
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "desk.md").write_text("# Loan desk\nThe desk opens at nine.")
    (docs / "fines.txt").write_text("A late book costs ten cents a day.")
    assert run(monkeypatch, "add", "faq", docs, docs / "nowhere", "--json") == 2
    streams = capsys.readouterr()
    assert json.loads(streams.out)["documents"] == 2
    assert "skipped" in streams.err
    (docs / "fines.txt").write_text("A late book costs twenty cents a day.")
    assert run(monkeypatch, "update", "faq", docs) == 0
    capsys.readouterr()
    assert run(monkeypatch, "search", "faq", "What is the penalty for late books?", "-k", "1", "--json") == 0
    (passage,) = result(capsys)["passages"]  # type: ignore[index]
    assert "twenty cents" in passage["text"]
    questions = tmp_path / "q.jsonl"
    questions.write_text(json.dumps({"question": "When does the desk open?", "doc_ids": ["desk"]}) + "\n")
    assert run(monkeypatch, "evaluate", "faq", "--questions", questions, "--json") == 0
    assert result(capsys)["means"]["dense"]["recall@1"] == 1.0  # type: ignore[index]
