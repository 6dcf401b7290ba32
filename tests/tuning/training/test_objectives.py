"""Trainings by every objective: what they learn, what they are compared with, and that a stop changes nothing."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fakes import trainings
from fakes.lazy import Lazy
from fakes.trainings import NUMBERS, TRAINED, skip_without_gpu

from storage.folders import read_manifest
from storage.hashes import content_hash
from tuning.automatic import settled
from tuning.base import ResolvedModel
from tuning.data.rows import PairRow, RatedRow, Row, TextWindow, TrainingRow
from tuning.errors import TuningError
from tuning.export.adapters import load_adapter
from tuning.methods.lora import LoraRecipe
from tuning.methods.registry import METHODS
from tuning.objectives.kto import Kto
from tuning.objectives.objective import ObjectiveSettings
from tuning.objectives.preference import Dpo, Orpo, Simpo
from tuning.objectives.pretraining import Pretraining
from tuning.recipe import CheckRows, Recipe
from tuning.training.progress import Forecast
from tuning.training.run import VERSION, forecast_training, recipe_hash

if TYPE_CHECKING:
    import torch
else:
    torch = Lazy("torch")

# It trains.
pytestmark = pytest.mark.slow

WORDS = ("sea", "north", "south", "one", "two", "three", "is", "what")


def pair(*words: str) -> PairRow:
    return PairRow(({"role": "user", "content": " ".join(words)},), "red", "blue green")


PAIRS = [pair(*WORDS[start : start + 2]) for start in range(6)]
HELD_OUT = [pair("what", word) for word in ("north", "south", "sea", "one")]
RATED = [
    *(RatedRow(one.prompt, one.chosen, True) for one in PAIRS),
    *(RatedRow(one.prompt, one.rejected, False) for one in PAIRS),
]
WINDOWS = [TextWindow((9, 6, 7, 8, 13, 14, 15), 1), TextWindow((13, 14, 15, 9, 6), 3), TextWindow((7, 8, 13, 14), 1)]
RECIPE = LoraRecipe(rank=4, alpha=8, learning_rate=0.03, epochs=8, batch_size=4, seed=3)
PREFERENCES: list[ObjectiveSettings] = [Dpo(beta=0.5), Orpo(beta=0.5), Simpo(), Kto(beta=0.5)]
ALL = [*PREFERENCES, Pretraining(window=8, overlap=2)]


def rows_of(objective: ObjectiveSettings) -> list[Any]:
    return {"kto": RATED, "pretraining": WINDOWS}.get(objective.name, PAIRS)  # type: ignore[return-value,call-overload]


def train(folder: Path, home: Path, objective: ObjectiveSettings, **changes: Any) -> dict[str, Any]:
    """The manifest of an adapter."""
    recipe = replace(changes.pop("recipe", RECIPE), objective=objective)
    adapter = trainings.train(folder, home, rows=changes.pop("rows", rows_of(objective)), recipe=recipe, **changes)
    return read_manifest(adapter.path)


@pytest.mark.parametrize("objective", PREFERENCES, ids=lambda one: one.name)
def test_the_chosen_answers_are_preferred_afterwards_and_the_manifest_tells_it(
    objective: ObjectiveSettings, tiny_base: Path, tmp_path: Path
) -> None:
    manifest = train(tiny_base, tmp_path, objective, held_out=CheckRows(HELD_OUT))
    assert (manifest["objective"], manifest["recipe"]["objective"]) == (objective.name, asdict(objective))
    assert manifest["num_rows"] == len(rows_of(objective))
    assert manifest["loss_curve"][-1] < manifest["loss_curve"][0]
    told = manifest["preference"]
    assert (told["num_pairs"], told["num_prompts"]) == (4, 4)
    assert told["accuracy"]["mean"] == 1.0
    assert told["accuracy_before"]["mean"] < 1.0
    assert told["accuracy"]["low"] == pytest.approx(0.5101, abs=1e-4), "Wilson's, of four in four"
    assert told["margin_change"]["low"] > 0
    before, after, change = (told[key]["mean"] for key in ("margin_before", "margin", "margin_change"))
    assert change == pytest.approx(after - before)
    assert (told["reward_accuracy"] is not None) == (objective.name in ("dpo", "kto"))
    adapter = load_adapter(next((tmp_path / "adapters").iterdir()))
    assert adapter.objective == objective.name
    assert adapter.preference is not None
    assert asdict(adapter.preference) == told


@pytest.mark.parametrize("objective", ALL, ids=lambda one: one.name)
def test_a_training_that_was_stopped_ends_with_the_same_weights(
    objective: ObjectiveSettings, tiny_base: Path, tmp_path: Path
) -> None:
    is_text = objective.name == "pretraining"
    given: dict[str, Any] = {
        "recipe": replace(RECIPE, keep="best", look_every=2.0, epochs=6.0, batch_size=2, guard_drop=1.0),
        "dev": CheckRows(WINDOWS[:2] if is_text else HELD_OUT),
        "guard": CheckRows(trainings.ROWS[:2]),
        "held_out": None if is_text else CheckRows(PAIRS[:3]),
    }
    whole = train(tiny_base, tmp_path / "whole", objective, **given)
    again = partial(train, tiny_base, tmp_path / "parts", objective, checkpoint_every_s=0.0, **given)
    trainings.interrupted(again, 2, 4, 7)
    parts = train(tiny_base, tmp_path / "parts", objective, **given)
    assert parts["name"] == whole["name"]
    assert parts["looks"] == whole["looks"]
    assert len(whole["looks"]) > 2
    assert parts.get("preference") == whole.get("preference")
    assert not list((tmp_path / "parts" / "training").iterdir())


@pytest.mark.parametrize("objective", ALL, ids=lambda one: one.name)
def test_a_batch_in_parts_one_after_the_other_learns_the_same(
    objective: ObjectiveSettings, tiny_base: Path, tmp_path: Path
) -> None:
    whole, parts = (
        train(tiny_base, tmp_path / str(n), objective, recipe=replace(RECIPE, accumulate=n, batch_size=4, epochs=3.0))
        for n in (1, 4)
    )
    assert parts["loss_curve"] == pytest.approx(whole["loss_curve"], abs=1e-4)


def margins(folder: Path, rows: list[PairRow]) -> list[float]:
    """Of the base model as transformers loads it."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer, found = AutoTokenizer.from_pretrained(folder), []
    for row in rows:
        means = []
        for answer in (row.chosen, row.rejected):
            start = len(tokenizer.apply_chat_template(list(row.prompt), add_generation_prompt=True)["input_ids"])
            said = [*row.prompt, {"role": "assistant", "content": answer}]
            ids = torch.tensor([tokenizer.apply_chat_template(said)["input_ids"]])
            with torch.no_grad():
                logs = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
            of_tokens = logs.gather(1, ids[0, 1:, None])[start - 1 :, 0]
            means.append(float(of_tokens.mean()))
        found.append(means[0] - means[1])
    return found


# They begin with something before the text or with zeros, and the first step is compared with a model without.
BEGIN_OTHERWISE = ("prompt", "p_tuning", "prefix", "pruned")
# Some begin near the base and not with it, and AdaLoRA's loss has a part of its own.
NEAR = {"vblora": 1e-3, "unilora": 1e-3, "adalora": 0.3}


@pytest.mark.parametrize("method", TRAINED)
def test_the_reference_is_the_base_model_whatever_the_method_does_to_it(
    method: str, tiny_base: Path, tmp_path: Path
) -> None:
    skip_without_gpu(method)
    kind = METHODS[method].recipe
    rank = {"rank": 4} if "rank" in kind.__dataclass_fields__ else {}
    recipe = kind(**(rank | {"epochs": 1.0, "batch_size": 6, "learning_rate": 1e-3} | NUMBERS.get(method, {})))
    manifest = train(tiny_base, tmp_path, Dpo(), recipe=recipe, held_out=CheckRows(HELD_OUT))
    first = manifest["loss_curve"][0]
    if method in BEGIN_OTHERWISE:
        assert abs(first - math.log(2)) > 1e-4
    else:
        assert first == pytest.approx(math.log(2), abs=NEAR.get(method, 1e-4))
    if not METHODS[method].quantization:  # whose base is another one
        expected = sum(margins(tiny_base, HELD_OUT)) / 4
        assert manifest["preference"]["margin_before"]["mean"] == pytest.approx(expected, abs=1e-4)


def test_a_further_training_is_compared_with_what_it_continues(tiny_base: Path, tmp_path: Path) -> None:
    first = train(tiny_base, tmp_path, Simpo(), held_out=CheckRows(HELD_OUT), name="first")
    recipe = replace(RECIPE, continue_from=first["name"], epochs=2.0, batch_size=6)
    second = train(tiny_base, tmp_path, Dpo(), recipe=recipe, held_out=CheckRows(HELD_OUT), name="second")
    assert second["loss_curve"][0] == pytest.approx(math.log(2), abs=1e-4)
    assert second["preference"]["margin_before"]["mean"] == pytest.approx(
        first["preference"]["margin"]["mean"], abs=1e-4
    )


def test_in_bfloat16_the_reference_is_read_as_the_training_computes(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tuning.training import trainer

    monkeypatch.setattr(trainer, "choose_precision", lambda: "bf16")
    manifest = train(
        tiny_base, tmp_path, Dpo(beta=0.5), recipe=replace(RECIPE, batch_size=6, keep="best"), dev=CheckRows(HELD_OUT)
    )
    assert manifest["precision"] == "bf16"
    assert manifest["loss_curve"][0] == pytest.approx(math.log(2), abs=5e-3)


@pytest.mark.parametrize("objective", ALL, ids=lambda one: one.name)
def test_a_forecast_reads_a_few_texts_and_changes_nothing(
    objective: ObjectiveSettings, tiny_base: Path, tmp_path: Path
) -> None:
    read: list[tuple[int, int]] = []
    said: list[Forecast] = []
    rows = rows_of(objective)
    given = {
        "rows": rows,
        "recipe": replace(RECIPE, objective=objective),
        "held_out": CheckRows(HELD_OUT) if objective.name != "pretraining" else None,
        "reading": lambda done, total: read.append((done, total)),
    }
    told = forecast_training(**trainings.arguments(tiny_base, tmp_path / "told", **given))
    assert told is not None
    assert told.seconds > 0
    assert read == []
    name = trainings.train(tiny_base, tmp_path / "told", foretold=said.append, **given).name
    # Both texts of every pair; rated answers stand beside answers to others; only held-out ones without a reference.
    num_texts = {"dpo": 12 + 8, "kto": 24 + 8, "pretraining": 0}.get(objective.name, 8)
    assert read[-1:] == ([(num_texts, num_texts)] if num_texts else [])
    assert said[0].seconds > 0
    assert trainings.train(tiny_base, tmp_path / "untold", **given).name == name


def test_a_reading_that_was_stopped_goes_on(tiny_base: Path, tmp_path: Path) -> None:
    rows = [pair(*WORDS[: 1 + i % 8], *WORDS[i // 8 : i // 8 + 2]) for i in range(20)]
    seen: list[int] = []

    def stop(done: int, _total: int) -> None:
        seen.append(done)
        if len(seen) == 3:
            raise KeyboardInterrupt

    given: dict[str, Any] = {"rows": rows, "recipe": replace(RECIPE, epochs=1.0)}
    with pytest.raises(KeyboardInterrupt):
        train(tiny_base, tmp_path / "parts", Dpo(), reading=stop, checkpoint_every_s=0.0, **given)
    assert seen == [8, 16, 24]
    parts = train(tiny_base, tmp_path / "parts", Dpo(), reading=stop, checkpoint_every_s=0.0, **given)
    assert seen == [8, 16, 24, 32, 40]
    assert parts["name"] == train(tiny_base, tmp_path / "whole", Dpo(), **given)["name"]


def test_documents_are_learned_and_the_looks_are_at_others(tiny_base: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, keep="best", look_every=4.0, epochs=12.0, batch_size=1)
    dev = CheckRows([TextWindow((9, 6, 7, 8, 13, 14), 1)])
    manifest = train(tiny_base, tmp_path, Pretraining(window=8, overlap=2), recipe=recipe, dev=dev)
    assert (manifest["num_rows"], manifest["num_steps"]) == (3, 36), "a step a window, twelve times"
    looks = manifest["looks"]
    assert [look["score"] for look in looks] == pytest.approx([math.exp(-look["loss"]) for look in looks])
    assert manifest["published"]["score"] > 2 * looks[0]["score"]
    # Six, two and three tokens a window are learned.
    assert manifest["num_tokens"] == 12 * (7 + 5 + 4)


@pytest.mark.parametrize(
    ("objective", "rows", "said"),
    [
        (Dpo(), trainings.ROWS, "objective dpo learns from preference pairs, and row 1 is none of them"),
        (Kto(), PAIRS, "objective kto learns from answers that are rated, and row 1 is none of them"),
        (ALL[-1], [*WINDOWS, *PAIRS], "objective pretraining learns from documents, and row 4 is none of them"),
        (Orpo(), [*PAIRS, replace(PAIRS[0], rejected=" red ")], "pair 7 has the same answer on both sides, 'red'"),
        (Simpo(), [], "no rows to train adapter"),
        (Kto(), [RATED[0], RATED[6]], "kto needs answers to two prompts at least"),
        (Dpo(), [replace(PAIRS[0], chosen="red " * 40)], "all 1 training rows are longer than max_length 32"),
        (Dpo(), [PairRow(({"role": "tool", "content": "x"},), "red", "blue")], "refuses a conversation of tool"),
    ],
)
def test_rows_that_cannot_be_learned_are_a_plain_error(
    objective: ObjectiveSettings, rows: list[Row], said: str, tiny_base: Path, tmp_path: Path
) -> None:
    with pytest.raises(TuningError, match=said) as caught:
        train(tiny_base, tmp_path, objective, rows=rows, recipe=replace(RECIPE, max_length=32))
    assert "\n" not in str(caught.value)


def test_pairs_over_the_length_are_left_out_and_counted(tiny_base: Path, tmp_path: Path) -> None:
    rows = [*PAIRS, replace(PAIRS[0], rejected="blue " * 40)]
    manifest = train(tiny_base, tmp_path, Dpo(), rows=rows, recipe=replace(RECIPE, max_length=32, epochs=1.0))
    assert (manifest["num_rows"], manifest["num_dropped"]) == (6, 1)


@pytest.mark.parametrize("called", ["dev", "held_out"])
def test_one_prompt_is_too_few_to_be_measured_on(called: str, tiny_base: Path, tmp_path: Path) -> None:
    said = rf"the {called.replace('_', '-')} pairs that .* answer 1 prompts, and 2 are needed"
    with pytest.raises(TuningError, match=said):
        train(
            tiny_base,
            tmp_path,
            Dpo(),
            recipe=replace(RECIPE, keep="best"),
            **{"dev": CheckRows(HELD_OUT)} | {called: CheckRows(HELD_OUT[:1])},
        )


@pytest.mark.parametrize(
    ("objective", "changes", "said"),
    [
        (Dpo(), {"dev": CheckRows(trainings.ROWS)}, "rows to measure objective dpo on must be preference pairs"),
        (Kto(), {"dev": CheckRows(RATED)}, "rows to measure objective kto on must be preference pairs"),
        (Pretraining(), {"dev": CheckRows(HELD_OUT)}, "rows to measure objective pretraining on must be documents"),
        (Dpo(), {"dev": CheckRows(HELD_OUT), "guard": CheckRows(HELD_OUT)}, "guard rows must be examples"),
        (Dpo(), {"dev": CheckRows(HELD_OUT), "held_out": CheckRows(RATED)}, "dpo on must be preference pairs"),
    ],
)
def test_rows_to_measure_on_are_of_the_objective_s_kind(
    objective: ObjectiveSettings, changes: dict[str, Any], said: str, tiny_base: Path, tmp_path: Path
) -> None:
    with pytest.raises(TuningError, match=said):
        train(tiny_base, tmp_path, objective, recipe=replace(RECIPE, keep="best"), **changes)


def test_the_hash_of_a_supervised_recipe_is_what_it_was_before_there_were_others() -> None:
    def digest(recipe: Recipe, **held_out: Any) -> str:
        rows = [TrainingRow(({"role": "user", "content": "what is sea"},), "blue")]
        return recipe_hash(
            base=ResolvedModel("org/tiny", "r1", "p"), chat_template="t", rows=rows, recipe=recipe, **held_out
        )

    plain = digest(LoraRecipe(rank=4, seed=3))
    numbers = asdict(settled(LoraRecipe(rank=4, seed=3), 1))
    assert numbers.pop("objective") == {"name": "supervised"}
    rows = content_hash('[[{"content": "what is sea", "role": "user"}], "blue"]')
    names = (f"{VERSION}", "org/tiny", "r1", "t", "supervised", rows, json.dumps(numbers, sort_keys=True))
    assert plain == content_hash(*names)
    others = {digest(LoraRecipe(rank=4, seed=3, objective=one)) for one in (Dpo(), Dpo(beta=0.2), Orpo())}
    held_out = digest(LoraRecipe(rank=4, seed=3, objective=Dpo()), held_out=CheckRows(HELD_OUT))
    assert len({plain, held_out, *others}) == 5
