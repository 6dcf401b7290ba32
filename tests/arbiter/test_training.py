"""What a training is given of a data folder, and what is said of it; nothing is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.adapters import ADAPTER
from fakes.teams import write_folder

from arbiter import training
from arbiter.config.schema import Config
from arbiter.console import Console
from arbiter.pipeline import Pipeline
from eval.errors import EvalError
from tuning.base import ResolvedModel
from tuning.look import Look, Published

DEV = [{"question": f"When opens desk {i} now?", "answers": [f"at {i}"], "doc_ids": [f"d{i}"]} for i in range(5)]
GUARD = [{"question": "Is water wet?", "answers": ["yes"]}, {"question": "Is fire cold?", "answers": ["no"]}]
LOOKED_AT = replace(
    ADAPTER,
    looks=(Look(0, 0.1, 3.0, 0.9), Look(5, 0.8, 1.0, 0.88)),
    published=Published((5,), 0.8, 1.0, 0.88),
    ended="no look was better than that after step 5, 3 times",
)


class Trained:
    """In the place of `train_adapter`: keeps what each training was given."""

    def __init__(self) -> None:
        self.given: dict[str, dict[str, Any]] = {}

    def __call__(self, **given: Any) -> Any:
        self.given[given["name"]] = given
        return replace(LOOKED_AT if given["dev"] else ADAPTER, name=f"{given['name']}@1")


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Trained:
    stands_in = Trained()
    monkeypatch.setattr(training, "train_adapter", stands_in)
    monkeypatch.setattr(Pipeline, "base", ResolvedModel("org/base", "r1", "nowhere"))
    return stands_in


def pipeline_of(folder: Path, home: Path, raft: dict[str, Any], **policy: Any) -> Pipeline:
    config = Config.model_validate(
        {
            "data": folder,
            "embedding": {"langchain": {"factory": "fakes.teams:WordEmbeddings"}},
            "adapters": {"closed_book": {"passages": 0}, "raft": {"passages": 2, **raft}},
            "index": {"top_k": 1},
            "policy": {"metric": "contains", **policy},
        }
    )
    return Pipeline(config, home=home, console=Console())


def test_a_training_that_is_looked_at_gets_dev_and_guard_rows_as_its_arm_asks_them(
    tmp_path: Path, trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_folder(tmp_path / "team", dev=DEV, guard=GUARD)
    adapters = pipeline_of(folder, tmp_path / "home", {"keep": "best", "look_rows": 3}).adapters
    given, plain = trained.given["raft"], trained.given["closed-book"]
    assert (plain["dev"], plain["guard"]) == (None, None)
    assert (len(given["dev"].rows), len(given["guard"].rows)) == (3, 2), "a sample of look_rows, in their order"
    # One passage, as `hybrid` is served, and not the two that it is trained with.
    prompts = [str(row.prompt) for row in given["dev"].rows]
    assert all(text.count("opens at") == 1 for text in prompts)
    assert [row.completion for row in given["guard"].rows] == ["yes", "no"]
    # By the metric that decides, not word for word.
    gold = [row.completion for row in given["dev"].rows]
    assert given["dev"].metric == "contains"
    assert given["dev"].score([f"It opens {gold[0]}, I think.", "never", gold[2]]) == [1.0, 0.0, 1.0]
    said = capsys.readouterr()
    shown = said.out + said.err
    assert "adapter raft@1 (trained in 2 s; after step 5: dev 0.10 -> 0.80, guard 0.90 -> 0.88)" in shown
    assert "note: the training of raft ended early: no look was better than that after step 5, 3 times" in shown
    assert set(adapters) == {"closed_book", "raft"}


def test_without_looks_neither_dev_nor_guard_is_read(tmp_path: Path, trained: Trained) -> None:
    folder = write_folder(tmp_path / "team", dev=DEV, guard=GUARD)
    (folder / "guard.jsonl").write_text("not read\n")
    pipeline = pipeline_of(folder, tmp_path / "home", {})
    assert pipeline.adapters
    assert (pipeline.data.dev, pipeline.data.guard) == ((), ())


def test_without_dev_questions_some_training_rows_are_looked_at_and_not_trained_on(
    tmp_path: Path, trained: Trained
) -> None:
    rows = [{"question": f"Who sits at place {i} {'ab'[i % 2]}?", "answers": [f"A{i}"], "doc_ids": [f"d{i % 6}"]}
            for i in range(24)]  # fmt: skip
    pipeline = pipeline_of(write_folder(tmp_path / "team", train=rows), tmp_path / "home", {"patience": 2})
    assert pipeline.adapters
    given = trained.given["raft"]
    looked_at = {row.completion for row in given["dev"].rows}
    assert looked_at
    assert not looked_at.intersection(row.completion for row in given["rows"])
    assert given["guard"] is None


def test_a_guard_question_that_is_evaluated_is_refused(tmp_path: Path, trained: Trained) -> None:
    guard = [{"question": "When opens desk 1?", "answers": ["two"]}]
    folder = write_folder(tmp_path / "team", dev=DEV, guard=guard)
    with pytest.raises(EvalError, match="guard"):
        pipeline_of(folder, tmp_path / "home", {"keep": "best"}).adapters  # noqa: B018


def test_a_version_of_the_data_counts_the_guard_rows(tmp_path: Path, trained: Trained) -> None:
    versions = {
        pipeline_of(
            write_folder(tmp_path / name, dev=DEV, guard=guard), tmp_path / "home", {"keep": "best"}
        ).data.version
        for name, guard in (("none", None), ("two", GUARD), ("one", GUARD[:1]))
    }
    assert len(versions) == 3
