"""The rows of each objective, out of a data folder; nothing is trained."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fakes.teams import DOCUMENTS, TRAIN, write_folder

from arbiter.config.schema import Config
from arbiter.console import Console
from arbiter.data import load_data
from arbiter.pipeline import Pipeline
from arbiter.training_rows import Rows, count_rows, measured_pairs, rows_of, settle_adapters
from router.answering.prompts import ANSWER
from tuning.base import ResolvedModel
from tuning.data.pairs import PreferencePair
from tuning.data.rows import PairRow, RatedRow, TextWindow
from tuning.errors import TuningError
from tuning.methods.lora import LoraRecipe
from tuning.objectives.preference import Dpo

PAIRS = [
    {"id": str(n), "prompt": f"Say {n} in {word}", "chosen": "red blue", "rejected": "green one two"}
    for n, word in enumerate(("Welsh", "Dutch", "Greek", "Czech", "Tamil", "Hindi", "Malay", "Norse", "Irish", "Latin"))
]


def config_of(folder: Path, adapter: dict[str, Any]) -> Config:
    return Config.model_validate(
        {"data": folder, "adapters": {"own": adapter}, "arms": {"mine": {"adapter": "own"}}, "seed": 3}
    )


def rows(folder: Path, adapter: dict[str, Any], base: str = "") -> Rows:
    config = config_of(folder, adapter)
    data = load_data(folder, needs_preferences=True, needs_dev=bool(adapter.get("keep")), takes_dev=False)
    scoring: Any = SimpleNamespace(score_texts=lambda _asked, answers: [0.25 for _ in answers])
    return rows_of(config, "own", data, None, base, lambda: scoring)


def test_pairs_are_in_the_words_of_the_arm_and_some_are_held_out(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "team", pairs=PAIRS)
    found = rows(folder, {"objective": "dpo"})
    assert found.held_out is not None
    assert (len(found.training), len(found.held_out.rows), found.dev, found.guard) == (8, 2, None, None)
    assert all(isinstance(row, PairRow) for row in (*found.training, *found.held_out.rows))
    asked = {str(row.prompt) for row in (*found.training, *found.held_out.rows)}  # type: ignore[union-attr]
    assert asked == {str(tuple(ANSWER.ask(str(pair["prompt"]), ()))) for pair in PAIRS}
    none = rows(folder, {"objective": {"name": "orpo", "held_out": 0}})
    assert (len(none.training), none.held_out) == (10, None)


def test_measuring_takes_no_longer_than_training_unless_it_is_asked_for(tmp_path: Path) -> None:
    many = [{**pair, "id": f"{n}.{pair['id']}", "prompt": f"{n}: {pair['prompt']}"} for n in range(4) for pair in PAIRS]
    folder = write_folder(tmp_path / "team", pairs=many)
    half = {"name": "dpo", "held_out": 0.5}
    found = rows(folder, {"objective": half, "epochs": 1})
    assert found.held_out is not None
    # 20 are learned once, which is worth 10 that are read before and after.
    assert (len(found.training), len(found.held_out.rows)) == (20, 10)
    assert found.notes == (
        "10 of the 20 held-out pairs are ranked before and after the training; "
        "adapters.own.objective.measured_pairs=20 ranks all",
    )
    assert rows(folder, {"objective": half, "epochs": 1}).held_out == found.held_out
    # As many as there are, of more passes; as many as are asked for.
    assert len(rows(folder, {"objective": half}).held_out.rows) == 20  # type: ignore[union-attr]
    asked = rows(folder, {"objective": {**half, "measured_pairs": 20}, "epochs": 1})
    assert (len(asked.held_out.rows), asked.notes) == (20, ())  # type: ignore[union-attr]
    assert rows(folder, {"objective": {**half, "measured_pairs": 0}}).held_out is None


@pytest.mark.parametrize(
    ("num_rows", "epochs", "measured"),
    [(24, 1.0, 12), (24, 10.0, 120), (2, 1.0, 10), (1000, 3.0, 200), (24, None, 120)],
)
def test_so_many_pairs_are_measured(num_rows: int, epochs: float | None, measured: int) -> None:
    recipe = LoraRecipe(objective=Dpo(), epochs=epochs)
    pairs = [PreferencePair(str(n), ({"role": "user", "content": f"{n}"},), "a", "b") for n in range(300)]
    assert len(measured_pairs(pairs, recipe, num_rows, seed=1)) == measured


def test_pairs_of_as_many_prompts_as_there_may_be_are_measured() -> None:
    recipe = LoraRecipe(objective=Dpo(measured_pairs=12))
    pairs = [
        PreferencePair(f"{n}-{copy}", ({"role": "user", "content": f"{n}"},), "a", f"b{copy}")
        for n in range(8)
        for copy in range(9)
    ]
    taken = measured_pairs(pairs, recipe, 24, seed=1)
    assert (len(taken), len({pair.id for pair in taken}), len({str(pair.prompt) for pair in taken})) == (12, 12, 8)
    few = measured_pairs(pairs, replace(recipe, objective=Dpo(measured_pairs=5)), 24, seed=1)
    assert len({str(pair.prompt) for pair in few}) == 5


def test_a_training_that_is_looked_at_has_dev_pairs_of_its_own(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "team", pairs=PAIRS, guard=[{"question": "Is water wet?", "answers": ["yes"]}])
    found = rows(folder, {"objective": {"name": "simpo", "held_out": 0.2}, "keep": "best", "look_rows": 1})
    assert found.dev is not None
    assert found.held_out is not None
    assert (len(found.training), len(found.dev.rows), len(found.held_out.rows)) == (6, 1, 2)
    # What must not be spoilt is asked and scored as ever.
    assert found.guard is not None
    assert found.guard.score is not None
    assert found.guard.score(["yes"]) == [0.25]
    with pytest.raises(TuningError, match=r"nothing is left to look with; raise adapters.own.objective.held_out"):
        rows(folder, {"objective": {"name": "simpo", "held_out": 0}, "keep": "best"})


def test_kto_learns_both_answers_of_pairs_alone(tmp_path: Path) -> None:
    found = rows(write_folder(tmp_path / "team", pairs=PAIRS), {"objective": "kto"})
    assert [type(row) for row in found.training] == [RatedRow] * 16
    assert [row.is_wanted for row in found.training] == [True] * 8 + [False] * 8  # type: ignore[union-attr]
    assert found.held_out is not None
    assert isinstance(found.held_out.rows[0], PairRow)


@pytest.mark.slow  # it imports transformers
def test_documents_are_windows_with_their_titles(tmp_path: Path, tiny_base: Path) -> None:
    documents = [*DOCUMENTS, {"id": "x", "title": "Opening hours", "text": "Desk 9 opens at ten and closes early."}]
    folder = write_folder(tmp_path / "team", docs=documents)
    adapter = {"objective": {"name": "pretraining", "window": 8, "overlap": 1}}
    found = rows(folder, adapter, str(tiny_base))
    # Desk 0 opens at one. [end]; Opening hours Desk 9 opens at ten and | and closes early. [end]
    assert [len(row.ids) for row in found.training] == [6] * len(DOCUMENTS) + [8, 4]  # type: ignore[union-attr]
    assert found.held_out is None
    looked_at = rows(folder, {**adapter, "patience": 2, "look_rows": 9}, str(tiny_base))
    assert looked_at.dev is not None
    assert isinstance(looked_at.dev.rows[0], TextWindow)
    assert len(looked_at.training) + len(looked_at.dev.rows) == len(found.training)
    assert len(looked_at.dev.rows) <= 2, "one document is left out"


def test_numbers_that_are_left_open_follow_from_the_rows_of_the_objective(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "team", pairs=PAIRS)
    data = load_data(folder, needs_preferences=True)
    counts = {}
    for name in ("supervised", "dpo", "kto", "pretraining"):
        config = config_of(folder, {"objective": name})
        counts[name] = count_rows("own", config.adapters["own"], data)
        (recipe,) = (settle_adapters(config, data, tmp_path).adapters[key] for key in ("own",))
        assert recipe.learning_rate == pytest.approx(1e-3 * recipe.objective.rate_factor)
    assert counts == {"supervised": 6, "dpo": 10, "kto": 20, "pretraining": 6}
    long = replace(data.documents[0], text="word " * 1000)
    assert count_rows("own", config.adapters["own"], replace(data, documents=(long,))) == 5000 // (4 * 224) + 1


@pytest.mark.slow  # it trains
def test_adapters_of_other_objectives_are_trained_from_a_folder_and_tell_what_they_prefer(
    tmp_path: Path, tiny_base: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Pipeline, "base", ResolvedModel("org/tiny", "r1", str(tiny_base)))
    usual = {"rank": 4, "epochs": 2, "batch_size": 4, "learning_rate": 0.01}
    config = Config.model_validate(
        {
            "data": write_folder(tmp_path / "team", pairs=PAIRS),
            "embedding": {"langchain": {"factory": "fakes.teams:WordEmbeddings"}},
            "adapters": {
                "polite": {**usual, "objective": "dpo", "keep": "best"},
                "well_read": {**usual, "objective": {"name": "pretraining", "window": 8, "overlap": 1}},
            },
            "arms": {
                **dict.fromkeys(("tuned", "tuned_rag", "hybrid", "fewshot")),
                "polite": {"adapter": "polite"},
                "well_read": {"adapter": "well_read"},
            },
        }
    )
    pipeline = Pipeline(config, home=tmp_path / "home", console=Console())
    adapters = pipeline.adapters
    assert {key: one.objective for key, one in adapters.items()} == {"polite": "dpo", "well_read": "pretraining"}
    told = adapters["polite"].preference
    assert told is not None
    assert (told.num_pairs, adapters["polite"].num_rows, adapters["well_read"].num_rows) == (2, 6, 6)
    said = capsys.readouterr().err
    assert "10 preference pairs, 20 rated answers, 6 questions" in said
    assert "training polite on 6 rows (dpo, lora, rank 4, 2 epochs" in said
    assert "of 2 held-out pairs the chosen answer is preferred in " in said
    again = Pipeline(config, home=tmp_path / "home", console=Console())
    assert {key: one.name for key, one in again.adapters.items()} == {key: one.name for key, one in adapters.items()}


def test_what_draws_its_answers_is_rewarded_by_the_metric_that_decides(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "team")
    config = Config.model_validate(
        {
            "data": folder,
            "adapters": {"own": {"objective": "grpo"}},
            "arms": {"mine": {"adapter": "own"}},
            "policy": {"metric": "contains"},
        }
    )
    data = load_data(folder)
    asked: list[str] = []

    def score_texts(questions: Any, answers: Any) -> list[float]:
        asked.extend(question.text for question in questions)
        return [float(question.answers[0] in answer) for question, answer in zip(questions, answers, strict=True)]

    scoring: Any = SimpleNamespace(score_texts=score_texts)
    found = rows_of(config, "own", data, None, "", lambda: scoring)
    assert found.worth is not None
    assert found.worth.name == "contains"
    assert found.worth.score is not None
    assert found.worth.score([2, 2, 0], ["Ada", "Bob", "it is Ada"]) == [1.0, 0.0, 1.0]
    assert asked == [TRAIN[place]["question"] for place in (2, 2, 0)]
    judged = config.model_copy(update={"policy": config.policy.__class__(metric="judge_correctness")})
    assert rows_of(judged, "own", data, None, "", lambda: scoring).worth is None, "a judge would be asked of each"
