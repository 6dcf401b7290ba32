"""What a training is given of a data folder, and what is said of it; nothing is trained."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes.adapters import ADAPTER, write_adapter
from fakes.teams import write_folder

from arbiter import training
from arbiter.check import find_faults
from arbiter.config.schema import Config
from arbiter.console import Console
from arbiter.data import Faults
from arbiter.kept_curves import learns_examples
from arbiter.pipeline import Pipeline
from arbiter.training import in_words, untrainable
from arbiter.training_rows import settle_adapters
from arbiter.variants import of_arm
from eval.errors import EvalError
from serving.engine.settings import EngineSettings
from tuning.base import ResolvedModel
from tuning.data.rows import PairRow
from tuning.errors import TuningError
from tuning.look import Drawn, Look, Published
from tuning.recipe import Worth
from tuning.training.progress import Forecast

DEV = [{"question": f"When opens desk {i} now?", "answers": [f"at {i}"], "doc_ids": [f"d{i}"]} for i in range(5)]
GUARD = [{"question": "Is water wet?", "answers": ["yes"]}, {"question": "Is fire cold?", "answers": ["no"]}]
LOOKED_AT = replace(
    ADAPTER,
    looks=(Look(0, 0.1, 3.0, 0.9), Look(5, 0.8, 1.0, 0.88)),
    published=Published((5,), 0.8, 1.0, 0.88),
    ended="no look was better than that after step 5, 3 times",
)


class Trained:
    """In the place of `train_adapter`: keeps what each training was given. Those of `found` are there already."""

    def __init__(self) -> None:
        self.given: dict[str, dict[str, Any]] = {}
        self.adapter = ADAPTER
        self.found: set[str] | None = None

    def __call__(self, **given: Any) -> Any:
        if self.found is not None and given["name"] not in self.found:
            given["starting"]()
        self.given[given["name"]] = given
        return replace(LOOKED_AT if given["dev"] else self.adapter, name=f"{given['name']}@1")

    def find(self, **given: Any) -> Any:
        """In the place of `find_trained`."""
        return ADAPTER if given["name"] in (self.found or ()) else None


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Trained:
    stands_in = Trained()
    monkeypatch.setattr(training, "train_adapter", stands_in)
    monkeypatch.setattr(training, "find_trained", stands_in.find)
    monkeypatch.setattr(Pipeline, "base", ResolvedModel("org/base", "r1", "nowhere"))
    return stands_in


def pipeline_of(
    folder: Path, home: Path, raft: dict[str, Any], closed_book: dict[str, Any] | None = None, **policy: Any
) -> Pipeline:
    config = Config.model_validate(
        {
            "data": folder,
            "embedding": {"langchain": {"factory": "fakes.teams:WordEmbeddings"}},
            "adapters": {"closed_book": {"passages": 0, **(closed_book or {})}, "raft": {"passages": 2, **raft}},
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


def test_what_was_drawn_is_told(tmp_path: Path, trained: Trained, capsys: pytest.CaptureFixture[str]) -> None:
    drawn = Drawn(reward=(0.1, 0.2, 0.3), departure=(0.0, 1.0, 2.5), alike=(0.0, 0.0, 0.5))
    trained.adapter = replace(ADAPTER, drawn=drawn)
    assert pipeline_of(write_folder(tmp_path / "team"), tmp_path / "home", {}).adapters
    said = capsys.readouterr()
    assert "reward 0.10 -> 0.30, 2.50 nats an answer from the beginning" in said.out + said.err


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


def test_held_out_pairs_that_are_not_measured_are_counted_once(
    tmp_path: Path, trained: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    pairs = [{"prompt": f"Say {n} in red", "chosen": "yes", "rejected": "no"} for n in range(40)]
    polite = {"objective": {"name": "dpo", "held_out": 0.5}, "epochs": 1}
    assert pipeline_of(write_folder(tmp_path / "team", pairs=pairs), tmp_path / "home", {}, polite).adapters
    given = trained.given["closed-book"]
    assert (len(given["rows"]), len(given["held_out"].rows)) == (20, 10)
    said = capsys.readouterr()
    assert (said.out + said.err).count("10 of the 20 held-out pairs are ranked before and after the training") == 1


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


@pytest.fixture
def unlike_any(trained: Trained, tiny_base: Path, monkeypatch: pytest.MonkeyPatch) -> Trained:
    """No adapter is there yet, the base is tiny, and the machine has no GPU."""
    trained.found = set()
    monkeypatch.setattr(Pipeline, "base", ResolvedModel("org/tiny", "r1", str(tiny_base)))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    return trained


NO_BLOCK = "adapters.raft cannot be trained: layers [40] do not fit the base model, which has blocks 0 to 1"
NO_START = "adapters.raft cannot be trained: continue_from 'gone@1' is no adapter here; there is none"
NO_GPU = "adapters.raft cannot be trained: optimizer adalomo needs a CUDA GPU"


@pytest.mark.slow  # it imports torch
@pytest.mark.parametrize(
    ("numbers", "said"),
    [({"layers": [40]}, NO_BLOCK), ({"optimizer": "adalomo"}, NO_GPU), ({"continue_from": "gone@1"}, NO_START)],
)
def test_an_adapter_that_cannot_be_trained_is_said_before_others_are(
    numbers: dict[str, Any], said: str, tmp_path: Path, unlike_any: Trained
) -> None:
    folder = write_folder(tmp_path / "team")
    assert list(pipeline_of(folder, tmp_path / "home", {}).adapters) == ["closed_book", "raft"]
    assert list(unlike_any.given) == ["closed-book", "raft"]
    unlike_any.given.clear()
    with pytest.raises(TuningError, match=re.escape(said)):
        pipeline_of(folder, tmp_path / "home", numbers).adapters  # noqa: B018
    assert unlike_any.given == {}


def named(folder: Path, home: Path, adapter: str) -> Pipeline:
    """A pipeline of one arm that answers with an adapter which is there."""
    arms = {**dict.fromkeys(("base", "fewshot", "rag", "tuned", "tuned_rag", "hybrid")), "both": {"adapter": adapter}}
    return Pipeline(Config.model_validate({"data": folder, "arms": arms}), home=home, console=Console())


def test_an_arm_may_name_an_adapter_that_is_there(tmp_path: Path, trained: Trained) -> None:
    folder, home = write_folder(tmp_path / "team"), tmp_path / "home"
    name = write_adapter(home)
    pipeline = named(folder, home, name)
    assert {key: adapter.name for key, adapter in pipeline.adapters.items()} == {name: name}
    assert trained.given == {}
    (arm,) = pipeline.arms
    assert (arm.name, arm.adapter) == ("both", name)
    assert pipeline.forecast() == {}
    assert of_arm(pipeline.config, "both").arms.keys() == {"both"}
    assert not learns_examples(pipeline.config, pipeline.config.arms["both"])


@pytest.mark.parametrize("given", ["gone@1f2e", "raft@"])
def test_an_adapter_that_an_arm_names_otherwise_than_in_full_is_refused(
    given: str, tmp_path: Path, trained: Trained
) -> None:
    folder, home = write_folder(tmp_path / "team"), tmp_path / "home"
    name = write_adapter(home)
    said = (
        f"an arm names its adapter in full: {name}"
        if given == "raft@"
        else f"no adapter '{given}' here; there is {name}"
    )
    with pytest.raises(TuningError, match=said):
        named(folder, home, given).adapters  # noqa: B018
    faults = Faults()
    pipeline = named(folder, home, given)
    find_faults(pipeline, faults)
    assert said in " ".join(map(str, faults.found))


@pytest.mark.slow  # it imports torch
def test_all_that_cannot_be_trained_are_said_at_once(
    tmp_path: Path, unlike_any: Trained, capsys: pytest.CaptureFixture[str]
) -> None:
    numbers: list[dict[str, Any]] = [{"layers": [40]}, {"method": "c3a", "block": 12}]
    pipeline = pipeline_of(write_folder(tmp_path / "team"), tmp_path / "home", *numbers)
    with pytest.raises(TuningError, match="2 adapters cannot be trained"):
        pipeline.adapters  # noqa: B018
    told = capsys.readouterr().err.splitlines()
    assert NO_BLOCK in told
    assert (
        "adapters.closed_book cannot be trained: block (12) must divide the sides of the base model's layers "
        "(16, 32, 64); set it to 8"
    ) in told
    assert unlike_any.given == {}


@pytest.mark.slow  # it imports torch
@pytest.mark.parametrize("numbers", [{"optimizer": "adalomo"}, {"continue_from": "gone@1"}])
def test_an_adapter_that_is_there_needs_nothing_that_trains_it(
    numbers: dict[str, Any], tmp_path: Path, unlike_any: Trained
) -> None:
    unlike_any.found = {"raft"}
    folder = write_folder(tmp_path / "team")
    assert list(pipeline_of(folder, tmp_path / "home", numbers).adapters) == ["closed_book", "raft"]
    assert list(unlike_any.given) == ["closed-book", "raft"]
    unlike_any.given.clear()
    with pytest.raises(TuningError, match=r"adapters\.closed_book cannot be trained"):
        pipeline_of(folder, tmp_path / "home", numbers, numbers).adapters  # noqa: B018
    assert unlike_any.given == {}


def test_a_rank_that_many_rows_give_and_the_engine_does_not_take_is_said_before_a_training(tmp_path: Path) -> None:
    pipeline = pipeline_of(write_folder(tmp_path / "team"), tmp_path / "home", {"rank": 16})
    config = pipeline.config.model_copy(update={"engine": EngineSettings(max_lora_rank=16)})
    base, rows = ResolvedModel("org/base", "r1", ""), pipeline.data.examples
    few, many = (replace(pipeline.data, examples=(rows * num)[:num]) for num in (9_999, 10_000))
    home = pipeline.home
    assert untrainable(config, few, base, ["closed_book", "raft"], home) == {}
    assert untrainable(config, many, base, ["closed_book", "raft"], home) == {
        "closed_book": "adapters.closed_book: it is served at rank 32, which is over engine.max_lora_rank 16"
    }
    assert untrainable(config, many, base, ["raft"], home) == {}


def test_a_rank_that_is_left_open_is_that_of_the_adapter_which_is_continued(tmp_path: Path) -> None:
    numbers = {"continue_from": "raft@1"}
    pipeline = pipeline_of(write_folder(tmp_path / "team"), tmp_path / "home", numbers)
    (started := tmp_path / "home" / "adapters" / "raft@1").mkdir(parents=True)
    (started / "adapter_config.json").write_text('{"r": 64}')
    config = pipeline.config.model_copy(update={"engine": EngineSettings(max_lora_rank=32)})
    data = replace(pipeline.data, examples=(pipeline.data.examples * 10_000)[:10_000])
    assert [recipe.rank for recipe in settle_adapters(config, data, pipeline.home).adapters.values()] == [32, 64]
    assert untrainable(config, data, ResolvedModel("org/base", "r1", ""), ["closed_book", "raft"], pipeline.home) == {
        "raft": "adapters.raft: it is served at rank 64, which is over engine.max_lora_rank 32"
    }


@pytest.mark.slow  # it imports torch
def test_the_rank_of_many_rows_is_the_one_that_is_looked_at(tmp_path: Path, tiny_base: Path) -> None:
    pipeline = pipeline_of(write_folder(tmp_path / "team"), tmp_path / "home", {"method": "corda"})
    base, rows = ResolvedModel("org/tiny", "r1", str(tiny_base)), pipeline.data.examples
    few, many = (replace(pipeline.data, examples=(rows * num)[:num]) for num in (9_999, 10_000))
    assert untrainable(pipeline.config, few, base, ["raft"], pipeline.home) == {}
    said = untrainable(pipeline.config, many, base, ["raft"], pipeline.home)["raft"]
    assert said.startswith("adapters.raft cannot be trained: rank (32) must be at most 16")


@pytest.mark.slow  # it times steps
def test_a_forecast_goes_on_past_an_adapter_that_cannot_be_trained(tmp_path: Path, unlike_any: Trained) -> None:
    folder = write_folder(tmp_path / "team")
    found = pipeline_of(folder, tmp_path / "home", {"layers": [40]}).forecast()
    assert found["raft"] == NO_BLOCK
    assert isinstance(found["closed_book"], Forecast)
    assert [in_words(name, one).partition(" will take")[0] for name, one in found.items()] == ["closed_book", NO_BLOCK]
    assert in_words("raft", None) == "raft is trained"
    lacking = pipeline_of(folder, tmp_path / "home", {"optimizer": "adalomo"}).forecast()["raft"]
    assert isinstance(lacking, str)
    assert lacking.startswith(NO_GPU)


PAIRS = [{"id": f"p{i}", "prompt": f"Say {i}", "chosen": "red", "rejected": "green"} for i in range(8)]


def rewarded(folder: Path, home: Path) -> Pipeline:
    config = Config.model_validate(
        {
            "data": write_folder(folder, pairs=PAIRS),
            "embedding": {"langchain": {"factory": "fakes.teams:WordEmbeddings"}},
            "adapters": {"taste": {"objective": "reward"}, "own": {"objective": {"name": "rloo", "reward": "taste"}}},
            "arms": {"mine": {"adapter": "own"}, "tuned": None, "tuned_rag": None, "hybrid": None},
        }
    )
    return Pipeline(config, home=home, console=Console())


def test_a_reward_model_is_trained_before_what_learns_by_it(
    tmp_path: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "find_trained", lambda **given: ADAPTER if given["name"] in trained.given else None)
    pipeline = rewarded(tmp_path / "team", tmp_path / "home")
    assert pipeline.forecast() == {"own": "own is timed when its reward model taste is trained"}
    assert set(pipeline.adapters) == {"own"}, "no arm answers with a reward model"
    assert list(trained.given) == ["taste", "own"]
    assert isinstance(trained.given["taste"]["rows"][0], PairRow)
    assert trained.given["taste"]["worth"] is None
    assert trained.given["own"]["worth"] == Worth(ADAPTER.name, adapter=ADAPTER.path)


def test_without_pairs_nothing_learns_by_a_reward_model(tmp_path: Path, trained: Trained) -> None:
    pipeline = rewarded(tmp_path / "team", tmp_path / "home")
    (tmp_path / "team" / "pairs.jsonl").unlink()
    assert "mine" not in pipeline.askable.arms


def test_a_teacher_is_handed_to_what_learns_from_it_and_a_forecast_does_not_ask_it(
    tmp_path: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def answered(_: Any, rows: Any, *, max_tokens: int | None, asks: bool = True) -> Any:
        asked.append(asks)
        return [replace(row, completion="taught") for row in rows[1:]], (f"{max_tokens} tokens",)

    monkeypatch.setattr("arbiter.distilling.Distilling.answered", answered)
    monkeypatch.setattr(training, "forecast_training", lambda **given: None)
    folder, teacher = write_folder(tmp_path / "team"), {"url": "http://127.0.0.1:9/v1", "model": "large"}
    config = {
        "data": folder,
        "embedding": {"langchain": {"factory": "fakes.teams:WordEmbeddings"}},
        "adapters": {"closed_book": {"objective": "distill"}, "raft": {"objective": "gkd", "passages": 0}},
        "distill": {"teacher": teacher},
    }
    pipeline = Pipeline(Config.model_validate(config), home=tmp_path / "home", console=Console())
    assert pipeline.adapters
    given, tokens = trained.given["closed-book"], trained.given["raft"]
    assert {row.completion for row in given["rows"]} == {"taught"}
    assert (given["teacher"], tokens["teacher"].name) == (None, "large at http://127.0.0.1:9/v1")
    assert len(tokens["rows"]) == len(given["rows"]) + 1
    assert given["provenance"]["teacher"] == tokens["provenance"]["teacher"] == tokens["teacher"].name
    assert all(asked)
    assert set(pipeline.forecast()) == {"closed_book", "raft"}
    assert not asked[-1]
