"""Which preferences of a data folder are learned, and which are measured on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.teams import write_folder

from arbiter.config.schema import Config
from arbiter.config.sections import LimitsConfig
from arbiter.data import Data, askable_arms, load_data
from arbiter.preferences import Preferences
from storage.errors import ArbiterError
from tuning.data.feedback import prompt_key, rated_of
from tuning.data.pairs import PreferencePair

TOPICS = ("sea", "moon", "rain", "fog", "snow", "wind", "tide", "reef", "dune", "lake", "rock", "tree")


def said(topic: str, **rest: Any) -> dict[str, Any]:
    return {"prompt": f"Tell me about the {topic}", "chosen": f"{topic}: wet", "rejected": f"{topic}: dry", **rest}


def load(folder: Path, **given: Any) -> Data:
    return load_data(folder, needs_preferences=True, **given)


def prompts(pairs: tuple[PreferencePair, ...]) -> list[str]:
    return [str(pair.prompt[-1]["content"]).rpartition(" ")[2] for pair in pairs]


def test_pairs_that_answer_an_evaluation_question_are_held_out_and_the_rest_is_learned(tmp_path: Path) -> None:
    folder = write_folder(
        tmp_path / "team",
        train=[said(one) for one in TOPICS[:6]],
        test=[said(one) for one in TOPICS[6:9]],
        dev=[said(one) for one in TOPICS[9:]],
    )
    found = load(folder, needs_dev=True).preferences
    assert prompts(found.pairs) == list(TOPICS[:6])
    assert prompts(found.held_out) == list(TOPICS[6:9])
    assert prompts(found.dev) == list(TOPICS[9:])
    assert [one.is_wanted for one in found.rated] == [True] * 6 + [False] * 6
    # A training that is not looked at needs no dev pairs, and learns them neither.
    unlooked = load(folder).preferences
    assert (unlooked.dev, prompts(unlooked.pairs)) == ((), list(TOPICS[:6]))
    assert load_data(folder).preferences == Preferences()


def test_preferences_may_lie_beside_examples(tmp_path: Path) -> None:
    pairs = [said(one) for one in TOPICS[:4]]
    pairs.append({"prompt": "When opens desk 3?", "chosen": "four", "rejected": "nine"})
    pairs.append({"prompt": "When opens a desk 3?", "chosen": "four", "rejected": "nine"})
    data = load(write_folder(tmp_path / "team", pairs=pairs))
    assert prompts(data.preferences.pairs) == list(TOPICS[:4])
    assert [pair.rejected for pair in data.preferences.held_out] == ["nine"]
    (note,) = (note for note in data.notes if "preferences" in note)
    assert note.startswith("1 prompts of preferences that ask a guard question, or at least 90% the same as")
    assert len(data.examples) == 6
    kept = load(tmp_path / "team", limits=LimitsConfig(near_repeats="keep"))
    assert prompts(kept.preferences.pairs) == [*TOPICS[:4], "3?"]


def test_one_file_of_pairs_is_split_as_its_questions_are(tmp_path: Path) -> None:
    data = load(write_folder(tmp_path / "team", train=[said(one) for one in TOPICS], test=None))
    learned, held_out = prompts(data.preferences.pairs), prompts(data.preferences.held_out)
    assert {f"Tell me about the {one}" for one in held_out} == {question.text for question in data.questions}
    assert sorted([*learned, *held_out]) == sorted(TOPICS)


def test_faulty_pairs_are_said_with_what_else_is_wrong(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "team", pairs=[said("sea"), said("moon", rejected="moon: wet")])
    with pytest.raises(
        ArbiterError, match=r"pairs.jsonl .*1 faulty pairs: line 2: `chosen` and `rejected` are the same"
    ):
        load(folder)


def test_the_limit_of_training_rows_is_one_of_pairs(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "team", pairs=[said(one) for one in TOPICS])
    found = load(folder, limits=LimitsConfig(train_rows=5)).preferences
    assert (len(found.pairs), len(found.rated)) == (5, 5)


def test_the_version_of_the_data_counts_them_where_they_are_used(tmp_path: Path) -> None:
    with_pairs = write_folder(tmp_path / "team", pairs=[said(one) for one in TOPICS])
    plain = write_folder(tmp_path / "plain")
    assert load_data(with_pairs).version == load_data(plain).version
    assert load(with_pairs).version != load_data(plain).version


def of(topics: tuple[str, ...]) -> Preferences:
    pairs = tuple(
        PreferencePair(f"{one}{n}", ({"role": "user", "content": one},), "wet", f"dry {n}")
        for one in topics
        for n in (1, 2)
    )
    return Preferences(pairs, rated_of(pairs))


def test_whole_prompts_are_taken_to_be_measured_on_always_the_same_ones() -> None:
    every = of(TOPICS)
    parts = every.divided(0.25, needs_dev=True)
    keys = [{prompt_key(one.prompt) for one in some} for some in (parts.pairs, parts.dev, parts.held_out)]
    assert [len(one) for one in keys] == [7, 2, 3]  # a quarter of 12, then of the 9 that are left
    assert not keys[0] & keys[1]
    assert not (keys[0] | keys[1]) & keys[2]
    assert {prompt_key(one.prompt) for one in parts.rated} == keys[0]
    assert len(parts.held_out) == 6, "both pairs of a prompt"
    assert every.divided(0.25, needs_dev=True) == parts
    assert of(TOPICS[::-1]).divided(0.25, needs_dev=False).held_out[::-1] != parts.held_out[::-1]
    assert {one.id for one in of(TOPICS[::-1]).divided(0.25, needs_dev=False).held_out} == {
        one.id for one in parts.held_out
    }


def test_pairs_that_are_there_to_be_measured_on_take_none_away() -> None:
    every = replace(of(TOPICS), held_out=of(("hill", "cave")).pairs)
    assert every.divided(0.25, needs_dev=False) == every
    assert len(every.divided(0.25, needs_dev=True).dev) == 6
    assert of(TOPICS).divided(0.0, needs_dev=True) == of(TOPICS)
    assert len(of(TOPICS).divided(0.01, needs_dev=False).held_out) == 4, "two prompts at least"


def test_arms_whose_adapter_lacks_its_preferences_are_left_out_and_named(tmp_path: Path) -> None:
    given = {
        "adapters": {
            "polite": {"objective": "dpo"},
            "liked": {"objective": "kto"},
            "read": {"objective": "pretraining"},
        },
        "arms": {name: {"adapter": name} for name in ("polite", "liked", "read")},
    }
    folder = write_folder(tmp_path / "team")
    config = Config.model_validate({"data": folder, **given})
    askable, notes = askable_arms(config, load(folder))
    assert {"polite", "liked"}.isdisjoint(askable.arms)
    assert "read" in askable.arms
    assert any(note.startswith("no preference pairs (pairs.jsonl or train.jsonl, with chosen and") for note in notes)
    assert any(note.startswith("no answers that are rated") and note.endswith("left out: liked") for note in notes)
    # A thumb up alone rates an answer and makes no pair.
    thumbs = [{"prompt": f"Tell me about the {one}", "completion": one, "label": True} for one in TOPICS]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in thumbs))
    assert {"liked"} == {"polite", "liked"} & set(askable_arms(config, load(folder))[0].arms)
