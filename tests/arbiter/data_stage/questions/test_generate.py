from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from fakes.teachers import FakeTeacher, teaching, texts

from arbiter.config.schema import Config
from arbiter.console import Console
from arbiter.data import load_data
from arbiter.data_stage.questions.generate import Generation
from arbiter.data_stage.questions.material import read_documents
from eval.generation.proposals import read_proposals
from storage.errors import ArbiterError
from tests.arbiter.data_stage.questions.conftest import Configs


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "made"


def make(source: Path, target: Path, config: Config, console: Console) -> tuple[str, dict[str, Any]]:
    home = target.parent / "home"
    material = read_documents(source, config, home=home, console=console)
    parts = {"config": config, "home": home, "console": console}
    return Generation(material=material, target=target, command="arbiter data generate", **parts).run()  # type: ignore[arg-type]


def said(console: Console) -> str:
    return str(console._err.file.getvalue())  # type: ignore[attr-defined]


def test_a_folder_to_look_through_is_made_and_nothing_of_it_is_used_before(
    documents: Path, target: Path, configs: Configs, console: Console
) -> None:
    with teaching() as server:
        text, row = make(documents, target, configs(server.url), console)
        assert row["requests"] == {"sent": len(server.bodies), "in_all": len(server.bodies)}
    assert sorted(path.name for path in target.iterdir()) == [
        "docs",
        "provenance.json",
        "removed.jsonl",
        "to_review.jsonl",
    ]
    rows = read_proposals(target / "to_review.jsonl")
    assert {name: sum(one.part == name for one in rows) for name in ("test", "train")} == {"test": 4, "train": 4}
    assert row["questions"] == {"test": 4, "train": 4}
    assert row["status"] == {"proposed": 8}
    assert row["teacher"] == f"large at {server.url}"
    assert f"arbiter data review {target / 'to_review.jsonl'}" in text
    assert "note: forecast: " in said(console)
    assert json.loads((target / "provenance.json").read_text())["command"] == "arbiter data generate"
    with pytest.raises(ArbiterError, match=r"or accept some of to_review\.jsonl: arbiter data review"):
        load_data(target)


def test_proposed_questions_are_a_set_where_that_is_wanted_and_it_is_said(
    documents: Path, target: Path, configs: Configs, console: Console
) -> None:
    with teaching() as server:
        text, _ = make(documents, target, configs(server.url, "generate.take_proposed=true"), console)
    assert "8 questions are used that nobody has reviewed (generate.take_proposed)" in text
    assert "policy.metric.default=token_f1 policy.metric.unanswerable=abstention" in text
    data = load_data(target)
    assert (len(data.questions), len(data.examples)) == (4, 4)
    assert {document.id for document in data.documents} == set(texts())
    assert {name for one in data.questions for name in one.document_ids} <= set(texts())
    assert not [note for note in data.notes if "not read" in note]


def test_the_same_command_asks_nothing_and_keeps_what_was_ruled(
    documents: Path, target: Path, configs: Configs, console: Console
) -> None:
    with teaching() as server:
        make(documents, target, configs(server.url), console)
        asked = len(server.bodies)
        path = target / "to_review.jsonl"
        first, *rest = [json.loads(line) for line in path.read_text().splitlines()]
        first |= {"status": "rejected", "question": "Who edited this here?"}
        path.write_text("".join(json.dumps(one) + "\n" for one in (first, *rest)))
        _, row = make(documents, target, configs(server.url), console)
        assert len(server.bodies) == asked
        assert row["status"] == {"rejected": 1, "proposed": 7}
        assert read_proposals(path)[0].question == "Who edited this here?"
        _, more = make(documents, target, configs(server.url, "generate.questions=5", "generate.examples=5"), console)
        assert more["questions"] == {"test": 5, "train": 5}
        assert asked < len(server.bodies)


def test_a_budget_is_an_end_that_is_said_and_gone_on_from(
    documents: Path, target: Path, configs: Configs, console: Console
) -> None:
    with teaching() as server:
        few = configs(server.url, "generate.max_requests=10", "generate.kinds=[fact]")
        text, row = make(documents, target, few, console)
        assert (len(server.bodies), row["requests"]["sent"]) == (10, 10)
        assert "generate.max_requests is 10, which is not enough for all questions" in said(console)
        assert "the budget of 10 requests is spent" in str(row["stopped"])
        assert "run the same command again, which goes on" in text
        _, row = make(documents, target, configs(server.url, "generate.kinds=[fact]"), console)
        assert (row["questions"], row["requests"]) == ({"test": 4, "train": 4}, {"sent": 14, "in_all": 24})
        tiny = configs(server.url, "generate.max_tokens=1", "generate.kinds=[fact]", "seed=9")
        with pytest.raises(ArbiterError, match=r"no question was made: the budget of 1 tokens is spent"):
            make(documents, target.parent / "other", tiny, console)


def test_a_teacher_that_goes_away_is_one_line_and_what_it_said_is_kept(
    documents: Path, target: Path, configs: Configs, console: Console
) -> None:
    with teaching(status=lambda number: 200 if number <= 14 else 503) as server:
        config = configs(server.url, "generate.kinds=[fact]")
        with pytest.raises(ArbiterError, match=r"any more: .*503: scripted; 4 questions in .* are kept") as fault:
            make(documents, target, config, console)
        assert "the same command goes on from there" in str(fault.value)
        assert len(read_proposals(target / "to_review.jsonl")) == 4
        server.status = lambda number: 200
        asked = [text for text, _ in zip(server.asked, range(14), strict=False)]
        _, row = make(documents, target, config, console)
    assert row["questions"] == {"test": 4, "train": 4}
    assert len(set(asked)) == 14
    # 24 requests in all, of which 14 were answered before.
    assert row["requests"] == {"sent": 10, "in_all": 24}


def test_a_teacher_that_is_not_there_leaves_no_folder(
    documents: Path, target: Path, configs: Configs, console: Console
) -> None:
    with pytest.raises(ArbiterError, match=r"any more: .*cannot be reached.*its answers so far are kept"):
        make(documents, target, configs("http://127.0.0.1:9/v1"), console)
    assert not target.exists()


def test_a_teacher_that_talks_leaves_no_question_and_every_draft_is_counted(
    documents: Path, target: Path, configs: Configs, console: Console
) -> None:
    with (
        teaching(spoil=lambda reply, is_draft: "What a fine mill.") as server,
        pytest.raises(ArbiterError) as fault,
    ):
        make(documents, target, configs(server.url), console)
    assert "none of 24 drafts of large at http://" in str(fault.value)
    assert "(24 the reply is no question with an answer)" in str(fault.value)


def test_what_was_dropped_lies_beside_with_its_reason(
    documents: Path, target: Path, configs: Configs, console: Console
) -> None:
    def sometimes(reply: str, is_draft: bool) -> str:
        return reply.replace("18", "1") if is_draft and "18" in reply and "mill" in reply else reply

    with teaching(spoil=sometimes) as server:
        config = configs(server.url, "generate.kinds=[fact]", "generate.questions=5", "generate.examples=5")
        text, row = make(documents, target, config, console)
    lost = [json.loads(line) for line in (target / "removed.jsonl").read_text().splitlines()]
    assert row["removed"] == {"the answer does not stand in the passage": len(lost)}
    assert [(one["question"], one["answer"], one["documents"]) for one in lost] == [
        ("When was the mill at Thornby built?", "101", ["mill-thornby"])
    ]
    assert "1 the answer does not stand in the passage" in text


def test_fewer_than_wanted_is_said(documents: Path, target: Path, configs: Configs, console: Console) -> None:
    with teaching() as server:
        config = configs(server.url, "generate.kinds=[fact]", "generate.questions=20", "generate.examples=0")
        text, _ = make(documents, target, config, console)
    assert "note: made 10 of 20 test questions out of 10 drafts" in text
    assert "have passages for no more than 10 drafts of test questions" in said(console)


def test_questions_are_made_within_a_data_folder(tmp_path: Path, configs: Configs, console: Console) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    rows = [{"id": name, "text": text} for name, text in texts().items()]
    (folder / "docs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with teaching() as server:
        config = configs(server.url, "generate.take_proposed=true")
        for _ in range(2):
            make(folder, folder, config, console)
    assert len(load_data(folder).questions) == 4


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("docs", "is or lies in the documents"),
        ("docs/made", "is or lies in"),
        ("full", r"test\.jsonl' is there already"),
    ],
)
def test_a_folder_that_is_not_its_own_is_refused_before_anything_is_asked(
    place: str, message: str, documents: Path, tmp_path: Path, configs: Configs, console: Console
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "test.jsonl").write_text("{}\n")
    with teaching() as server:
        with pytest.raises(ArbiterError, match=message):
            make(documents, tmp_path / place, configs(server.url), console)
        assert server.bodies == []


def test_a_slow_teacher_costs_its_time_out_a_request(
    documents: Path, target: Path, configs: Configs, console: Console
) -> None:
    with teaching(delay_s=60.0) as server:
        config = configs(server.url, "generate.teacher.timeout_s=0.1")
        with pytest.raises(ArbiterError, match=r"did not answer within 0\.1 s"):
            make(documents, target, config, console)


def asked_by_engine(server: FakeTeacher) -> set[str]:
    return {str(body["model"]) for body in server.bodies}


def test_without_a_teacher_the_config_s_own_model_writes(
    documents: Path, target: Path, configs: Configs, console: Console
) -> None:
    with teaching() as server:
        config = configs(None, f"engine.url={server.url}", "engine.model=org/base", "generate.kinds=[fact]")
        _, row = make(documents, target, config, console)
        assert asked_by_engine(server) == {"org/base"}
    assert row["questions"] == {"test": 4, "train": 4}
    assert "too small" not in said(console)
