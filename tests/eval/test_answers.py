import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.logs import Logged

from eval.answers import AnswerCache, AnswerRecord, answer_key
from eval.questions import Question
from router.answering.arm import Arm
from storage.errors import StorageError

RECORD = AnswerRecord(arm="rag", question_id="q1", text="nine", passages=("p",), prompt_tokens=5, latency_ms=1.5)
RAG, WHEN, VERSIONS = Arm("rag"), Question("q1", "When?", ("nine",)), {"rag": {"model": "1"}, "other": {"model": "1"}}


def test_an_answer_comes_back_under_the_names_it_is_asked_by(tmp_path: Path) -> None:
    with AnswerCache(tmp_path / "a.db") as cache:
        assert cache.get(RAG, WHEN, VERSIONS) is None
        cache.put(RAG, WHEN, VERSIONS, RECORD)
    with AnswerCache(tmp_path / "a.db") as cache:
        assert cache.get(RAG, WHEN, VERSIONS) == RECORD
        renamed = cache.get(Arm("other"), Question("q9", "When?", ("ten",)), VERSIONS)
    assert renamed is not None
    assert (renamed.arm, renamed.question_id, renamed.text) == ("other", "q9", "nine")


def test_a_failed_answer_is_asked_again(tmp_path: Path) -> None:
    with AnswerCache(tmp_path / "a.db") as cache:
        cache.put(RAG, WHEN, VERSIONS, AnswerRecord(arm="rag", question_id="q1", text="", error="too long"))
        assert cache.get(RAG, WHEN, VERSIONS) is None


def test_a_key_depends_on_arm_question_and_versions_but_not_on_the_label() -> None:
    key = answer_key(RAG, WHEN, VERSIONS)
    assert answer_key(Arm("other"), WHEN, VERSIONS) == key
    others = {
        answer_key(RAG, Question("q1", "Where?", ("nine",)), VERSIONS),
        answer_key(RAG, replace(WHEN, history=({"role": "system", "content": "Be brief."},)), VERSIONS),
        answer_key(RAG, WHEN, {"rag": {"model": "2"}}),
        answer_key(Arm("rag", index="docs"), WHEN, VERSIONS),
    }
    assert len({key, *others}) == 5


def test_a_file_that_is_no_cache_is_set_aside_and_said(tmp_path: Path, logged: Logged) -> None:
    (tmp_path / "a.db").write_text("not a database, but long enough to be taken for one " * 30)
    with AnswerCache(tmp_path / "a.db") as cache:
        assert cache.get(RAG, WHEN, VERSIONS) is None
    assert "the answer cache 'a.db' was damaged" in logged.text
    assert (tmp_path / "a.db.damaged").read_text().startswith("not a database")


def test_a_full_disk_is_one_line_and_keeps_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    with AnswerCache(path) as cache:
        cache.put(RAG, WHEN, VERSIONS, RECORD)
        # SQLite's own limit gives the same error as a full disk: "database or disk is full".
        pages = cache._db.execute("PRAGMA page_count").fetchone()[0]
        cache._db.execute(f"PRAGMA max_page_count = {pages}")
        with pytest.raises(StorageError, match="disk is full; free some space"):
            cache.put(RAG, Question("q2", "Where?", ()), VERSIONS, AnswerRecord("rag", "q2", "x" * 100_000))
        assert cache.get(RAG, WHEN, VERSIONS) == RECORD
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
