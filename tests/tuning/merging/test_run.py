"""Whole adapters merged, beside what PEFT makes of the same ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fakes.lazy import Lazy
from fakes.loras import ROWS, deltas, deltas_of, published, random_lora, relative_error, weighted_sum

from storage.folders import read_manifest
from storage.hashes import hash_files
from tuning.base import ResolvedModel
from tuning.errors import TuningError
from tuning.export.adapters import Adapter
from tuning.merging import run
from tuning.merging.run import Parent, merge_adapters
from tuning.merging.settings import How, MergeSettings

if TYPE_CHECKING:
    import torch
else:
    torch = Lazy("torch")

# It imports torch and peft.
pytestmark = pytest.mark.slow

# Those of PEFT's own tests of weighted sums.
WEIGHTS = [[0.5, 1.5, 1.5], [-0.5, -0.8, -1.2], [0.5, -1.5, 1.0]]
EXACT = 1e-6
NARROW = {
    "r": 4,
    "lora_alpha": 8,
    "target_modules": ["q_proj", "v_proj", "down_proj"],
    "task_type": "CAUSAL_LM",
}


def merged(base: Path, folder: Path, parents: list[Adapter], weights: list[float], **changes: Any) -> Adapter:
    given: dict[str, Any] = {
        "name": "both",
        "parents": [Parent(one, weight) for one, weight in zip(parents, weights, strict=True)],
        "numbers": MergeSettings(),
        "base": ResolvedModel("org/tiny", "r1", str(base)),
        "rows": ROWS,
        "adapters_dir": folder,
        "most_rank": 512,
    }
    return merge_adapters(**given | changes)


def error_of(base: Path, made: Adapter, parents: list[Adapter], weights: list[float]) -> float:
    """How far the update is from the sum of the parents', all as PEFT works them out."""
    found, *parts = deltas(base, made, *parents)
    return relative_error(found, weighted_sum(parts, weights))


def by_peft(base: Path, parents: list[dict[str, Any]], weights: list[float], how: str, **options: Any) -> Any:
    """A PeftModel with parents of these configs as a0, a1 ... and what PEFT merges of them as `merged`."""
    from peft import LoraConfig

    first, *others = parents
    model = random_lora(base, 1, **first)
    model.add_adapter("a0", LoraConfig(**{**NARROW, **first}))
    for number, config in enumerate(others, start=1):
        model.add_adapter(f"a{number}", LoraConfig(**{**NARROW, **config}))
    torch.manual_seed(2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter += 0.1 * torch.randn_like(parameter)
    names = [f"a{number}" for number in range(len(parents))]
    model.add_weighted_adapter(names, weights, "merged", combination_type=how, **options)
    return model


def error_by_peft(base: Path, parents: list[dict[str, Any]], weights: list[float], how: str, **options: Any) -> float:
    model = by_peft(base, parents, weights, how, **options)
    parts = [deltas_of(model, f"a{number}") for number in range(len(parents))]
    return relative_error(deltas_of(model, "merged"), weighted_sum(parts, weights))


@pytest.mark.parametrize("weights", WEIGHTS)
def test_the_update_is_the_weighted_sum_of_the_parents(weights: list[float], tiny_base: Path, tmp_path: Path) -> None:
    parents = [
        published(tiny_base, tmp_path, "one", seed=1, r=4, lora_alpha=8),
        published(tiny_base, tmp_path, "two", seed=2, r=8, lora_alpha=8, target_modules=["q_proj", "down_proj"]),
        published(tiny_base, tmp_path, "three", seed=3, r=2, rank_pattern={"q_proj": 6}, alpha_pattern={"v_proj": 3}),
    ]
    made = merged(tiny_base, tmp_path, parents, weights)
    assert error_of(tiny_base, made, parents, weights) < EXACT
    assert (made.rank, made.form, made.method, made.unserved) == (4 + 8 + 6, "lora", "merge", ())
    assert made.parity is not None
    assert made.parity.largest <= made.parity.tolerance < made.parity.effect


def test_the_manifest_names_parents_by_their_content(tiny_base: Path, tmp_path: Path) -> None:
    parents = [published(tiny_base, tmp_path, name, seed=seed) for seed, name in enumerate(("one", "two"))]
    made = merged(tiny_base, tmp_path, parents, [0.25, 0.75])
    manifest = read_manifest(made.path)
    told = manifest["merge"]
    assert [(one["name"], one["weight"], one["files"]) for one in told["parents"]] == [
        (one.name, weight, hash_files(one.path)) for one, weight in zip(parents, [0.25, 0.75], strict=True)
    ]
    assert (told["how"], told["loss"], told["logits_lost"], told["density"]) == ("cat", 0.0, 0.0, None)
    assert (made.num_rows, made.final_loss) == (18, None)
    assert made.training_s > 5.0, "what it takes to have it: the parents' trainings, too"
    assert made.chat_template_hash == parents[0].chat_template_hash


def test_the_same_is_found_and_other_weights_are_another_adapter(tiny_base: Path, tmp_path: Path) -> None:
    parents = [published(tiny_base, tmp_path, name, seed=seed) for seed, name in enumerate(("one", "two"))]
    first = merged(tiny_base, tmp_path, parents, [1.0, 1.0])
    assert merged(tiny_base, tmp_path, parents, [1.0, 1.0], rows=[]) == first, "nothing is loaded"
    assert merged(tiny_base, tmp_path, parents, [1.0, 0.5]).name != first.name
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_one_adapter_may_be_taken_by_half(tiny_base: Path, tmp_path: Path) -> None:
    parent = published(tiny_base, tmp_path, "one", use_rslora=True)
    made = merged(tiny_base, tmp_path, [parent], [0.5])
    assert error_of(tiny_base, made, [parent], [0.5]) < EXACT


# What PEFT does to the same parents, and what is made here.


def test_linear_of_peft_is_not_the_mean_of_the_updates(tiny_base: Path, tmp_path: Path) -> None:
    assert error_by_peft(tiny_base, [{}, {}], [0.5, 0.5], "linear") > 0.5
    parents = [published(tiny_base, tmp_path, name, seed=seed) for seed, name in enumerate(("one", "two"))]
    assert error_of(tiny_base, merged(tiny_base, tmp_path, parents, [0.5, 0.5]), parents, [0.5, 0.5]) < EXACT


def test_the_scale_of_rslora_is_folded_in_which_peft_applies_twice(tiny_base: Path, tmp_path: Path) -> None:
    config = {"use_rslora": True, "r": 4}
    assert error_by_peft(tiny_base, [config, config], [1.0, 1.0], "cat") > 0.5
    parents = [published(tiny_base, tmp_path, name, seed=seed, **config) for seed, name in enumerate(("one", "two"))]
    assert error_of(tiny_base, merged(tiny_base, tmp_path, parents, [1.0, 1.0]), parents, [1.0, 1.0]) < EXACT


def test_blocks_that_only_one_parent_has_stay(tiny_base: Path, tmp_path: Path) -> None:
    blocks = [{"layers_to_transform": [number], "target_modules": ["q_proj", "v_proj"]} for number in (0, 1)]
    assert error_by_peft(tiny_base, blocks, [1.0, 1.0], "cat") > 0.5
    parents = [published(tiny_base, tmp_path, f"p{number}", seed=number, **one) for number, one in enumerate(blocks)]
    made = merged(tiny_base, tmp_path, parents, [1.0, 1.0])
    assert error_of(tiny_base, made, parents, [1.0, 1.0]) < EXACT
    assert made.rank == 4, "of layers that only one has, nothing is added up"


@pytest.mark.parametrize("how", ["ties", "dare_linear"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_peft_thins_out_a_parent_of_weight_1_beside_one_of_0(how: str, tiny_base: Path, tmp_path: Path) -> None:
    assert error_by_peft(tiny_base, [{}, {}], [1.0, 0.0], how, density=0.5) > 0.1
    parents = [published(tiny_base, tmp_path, name, seed=seed) for seed, name in enumerate(("one", "two"))]
    numbers = MergeSettings(how="ties" if how == "ties" else "dare")
    with pytest.raises(TuningError, match=r"weight of 'two@.*' must be a number other than 0, not 0; leave it out"):
        merged(tiny_base, tmp_path, parents, [1.0, 0.0], numbers=numbers)
    with pytest.raises(TuningError, match=f"{numbers.how} needs two adapters at least: .* take cat"):
        merged(tiny_base, tmp_path, parents[:1], [1.0], numbers=numbers)


@pytest.mark.parametrize(("config", "said"), [({"use_dora": True}, "DoRA"), ({"lora_bias": True}, "trained biases")])
def test_what_is_more_than_a_sum_is_refused(config: dict[str, Any], said: str, tiny_base: Path, tmp_path: Path) -> None:
    # PEFT merges it without a word, into what answers otherwise even alone and at a weight of 1.
    model = by_peft(tiny_base, [config], [1.0], "cat")
    answers = []
    for adapter in ("a0", "merged"):
        model.set_adapter(adapter)
        with torch.no_grad():
            answers.append(model(torch.tensor(ROWS[:1])).logits)
    off = (answers[0] - answers[1]).abs().max()
    assert float(off) > 1e-2
    parents = [published(tiny_base, tmp_path, "one"), published(tiny_base, tmp_path, "two", seed=2, **config)]
    with pytest.raises(TuningError, match=f"'two@.*' cannot be merged: it has {said}, which no LoRA holds"):
        merged(tiny_base, tmp_path, parents, [1.0, 1.0])


# Ways that lose something.


def test_an_svd_at_the_sum_of_the_ranks_is_exact_and_below_it_tells_its_loss(tiny_base: Path, tmp_path: Path) -> None:
    parents = [published(tiny_base, tmp_path, name, seed=seed) for seed, name in enumerate(("one", "two"))]
    whole = merged(tiny_base, tmp_path, parents, [1.0, 0.5], numbers=MergeSettings(how="svd", rank=8))
    assert error_of(tiny_base, whole, parents, [1.0, 0.5]) < 1e-5
    made = merged(tiny_base, tmp_path, parents, [1.0, 0.5], numbers=MergeSettings(how="svd"))
    told = read_manifest(made.path)["merge"]
    assert made.rank == 4
    assert told["loss"] == pytest.approx(error_of(tiny_base, made, parents, [1.0, 0.5]), rel=1e-4)
    assert told["loss"] > 0.05
    assert told["logits_lost"] > 0.01
    # As good as PEFT's own, which takes the singular values of the whole matrix.
    ours, theirs = told["loss"], error_by_peft(tiny_base, [{}, {}], [1.0, 0.5], "svd", svd_rank=4)
    assert 0.3 < ours / theirs < 3


@pytest.mark.parametrize("how", ["ties", "dare"])
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_ties_and_dare_hold_at_the_rank_they_need_and_are_refused_below(
    how: How, tiny_base: Path, tmp_path: Path
) -> None:
    parents = [published(tiny_base, tmp_path, name, seed=seed) for seed, name in enumerate(("one", "two"))]
    made = merged(tiny_base, tmp_path, parents, [1.0, 1.0], numbers=MergeSettings(how=how))
    told = read_manifest(made.path)["merge"]
    assert 0 < told["loss"] <= 0.01
    assert (told["density"], 4 < made.rank <= 32) == (0.5, True)
    assert error_of(tiny_base, made, parents, [1.0, 1.0]) > 0.1, "it is another update than the sum"
    again = merged(tiny_base, tmp_path / "again", parents, [1.0, 1.0], numbers=MergeSettings(how=how))
    assert again.name == made.name, "what is kept at random follows from the seed"
    with pytest.raises(TuningError, match=rf"at rank 4 what {how} makes loses \d+% of its length.*or take svd"):
        merged(tiny_base, tmp_path, parents, [1.0, 1.0], numbers=MergeSettings(how=how, rank=4))


# What does not go together.


def of_another_base(parent: Adapter) -> Adapter:
    return replace(parent, base_revision="r2")


def of_another_template(parent: Adapter) -> Adapter:
    return replace(parent, chat_template_hash="t2")


def of_another_form(parent: Adapter) -> Adapter:
    return replace(parent, form="merged")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            of_another_base,
            "'two@.*' was trained on org/tiny r2, not on org/tiny r1 as 'one@.*'; train them on one base",
        ),
        (of_another_template, "'two@.*' was trained with chat template t2, not .* as 'one@.*'; train them with one"),
        (of_another_form, "'two@.*' cannot be merged: it is of the form merged, and only LoRAs add up"),
    ],
)
def test_parents_that_do_not_go_together_are_refused(
    change: Callable[[Adapter], Adapter], said: str, tiny_base: Path, tmp_path: Path
) -> None:
    one, two = published(tiny_base, tmp_path, "one"), published(tiny_base, tmp_path, "two", seed=2)
    with pytest.raises(TuningError, match=said):
        merged(tiny_base, tmp_path, [one, change(two)], [1.0, 1.0])


def test_faulty_words_are_refused(tiny_base: Path, tmp_path: Path) -> None:
    one = published(tiny_base, tmp_path, "one")
    with pytest.raises(TuningError, match=r"'one@.*' is merged twice; name it once, with the sum of its weights"):
        merged(tiny_base, tmp_path, [one, one], [1.0, 1.0])
    with pytest.raises(TuningError, match="adapter name 'a/b' must consist of"):
        merged(tiny_base, tmp_path, [one], [1.0], name="a/b")
    with pytest.raises(TuningError, match="must be a number other than 0, not nan"):
        merged(tiny_base, tmp_path, [one], [float("nan")])
    with pytest.raises(TuningError, match="merged by cat the rank is 4, over the 2 that vLLM serves; take svd"):
        merged(tiny_base, tmp_path, [one], [1.0], most_rank=2)


def test_updates_that_take_each_other_away_are_refused(tiny_base: Path, tmp_path: Path) -> None:
    one, two = (published(tiny_base, tmp_path / name, name) for name in ("one", "two"))
    with pytest.raises(TuningError, match="the merged adapters take each other away; take other weights"):
        merged(tiny_base, tmp_path, [one, two], [1.0, -1.0])


def test_what_does_not_answer_as_the_sum_is_not_published(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parents = [published(tiny_base, tmp_path, name, seed=seed) for seed, name in enumerate(("one", "two"))]
    save = run.save_pairs

    def spoilt(tensors: Any, ranks: Any, folder: Path) -> None:
        first = sorted(tensors)[-1]
        save({**tensors, first: 2 * tensors[first]}, ranks, folder)

    monkeypatch.setattr(run, "save_pairs", spoilt)
    with pytest.raises(TuningError, match="does not answer as the sum of the updates: logits differ by"):
        merged(tiny_base, tmp_path, parents, [1.0, 1.0])
    assert {path.name.partition("@")[0] for path in tmp_path.iterdir()} == {"one", "two"}


def test_a_gpt2_whose_weights_lie_on_their_side_is_merged_too(conv1d_base: Path, tmp_path: Path) -> None:
    config = {"target_modules": ["c_attn", "c_fc"], "fan_in_fan_out": True}
    parents = [published(conv1d_base, tmp_path, name, seed=seed, **config) for seed, name in enumerate(("one", "two"))]
    made = merged(conv1d_base, tmp_path, parents, [0.5, 2.0])
    found, *parts = deltas(conv1d_base, made, *parents)
    assert relative_error(found, weighted_sum(parts, [0.5, 2.0])) < EXACT
