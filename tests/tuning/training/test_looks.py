"""Which weights of a training are published, from looks that are made up."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tuning.errors import TuningError
from tuning.look import Measured
from tuning.methods.lora import LoraRecipe
from tuning.training.looks import TRAINED, Looks

BEST = LoraRecipe(keep="best", learning_rate=1e-3)


def looks_of(folder: Path, recipe: LoraRecipe, found: Sequence[Measured]) -> Looks:
    left = iter(found)
    return Looks(recipe=recipe, folder=folder, steps_per_epoch=10, num_steps=30, measure=lambda _: next(left))


def run(looks: Looks, folder: Path) -> list[int]:
    """The steps at which a look was taken, by a training that writes a checkpoint at each."""
    steps = []
    for step in range(31):
        if looks.is_due(step):
            looks.take(step, None)
            steps.append(step)
            if step:
                checkpoint = folder / f"checkpoint-{step}"
                checkpoint.mkdir()
                (checkpoint / TRAINED).write_text(str(step))
                looks.keep(checkpoint)
                looks.prune()
        if looks.ended:
            break
    return steps


def scores(*values: float, guard: Sequence[float | None] | None = None) -> list[Measured]:
    return [Measured(value, 1.0, known) for value, known in zip(values, guard or [None] * len(values), strict=True)]


@pytest.mark.parametrize(
    ("every", "steps"), [(1.0, [0, 10, 20, 30]), (2.0, [0, 20, 30]), (5.0, [0, 30]), (0.75, [0, 8, 15, 22, 30])]
)
def test_looks_are_due_by_epochs_and_after_the_last_step(every: float, steps: list[int], tmp_path: Path) -> None:
    looks = looks_of(tmp_path, replace(BEST, look_every=every), scores(*[0.5] * 9))
    assert run(looks, tmp_path) == steps


def test_the_best_look_is_published_and_no_other_is_kept(tmp_path: Path) -> None:
    looks = looks_of(tmp_path, replace(BEST, look_every=1.0), scores(0.9, 0.5, 0.7, 0.6))
    run(looks, tmp_path)
    (chosen,) = looks.chosen()
    assert chosen.step == 20, "the base model, which is better, is no training"
    assert [path.read_text() for path in (tmp_path / "looks").iterdir()] == ["20"]
    assert looks.weights_of(chosen).read_text() == "20"


def test_of_equal_scores_the_lower_loss_is_the_better_look(tmp_path: Path) -> None:
    found = [Measured(0.0, 9.0), Measured(0.5, 2.0), Measured(0.5, 1.0), Measured(0.5, 1.5)]
    looks = looks_of(tmp_path, replace(BEST, look_every=1.0), found)
    run(looks, tmp_path)
    assert [look.step for look in looks.chosen()] == [20]


def test_the_mean_is_of_the_last_three_good_looks(tmp_path: Path) -> None:
    found = scores(*[0.5] * 7, guard=[0.9, 0.9, 0.9, 0.9, 0.9, 0.2, 0.9])
    looks = looks_of(tmp_path, replace(BEST, keep="mean"), found)
    run(looks, tmp_path)
    assert [look.step for look in looks.chosen()] == [15, 20, 30]
    assert sorted(path.name for path in (tmp_path / "looks").iterdir()) == ["15.pt", "20.pt", "30.pt"]


def test_patience_ends_a_training_that_gets_no_better(tmp_path: Path) -> None:
    looks = looks_of(tmp_path, LoraRecipe(patience=2), scores(0.0, 0.5, 0.4, 0.3, 0.9, 0.9, 0.9))
    assert run(looks, tmp_path) == [0, 5, 10, 15]
    assert looks.ended == "no look was better than that after step 5, 2 times"
    assert looks.chosen() == (), "the weights after the last step"
    assert not (tmp_path / "looks").exists()


def test_a_look_whose_guard_fell_is_not_published(tmp_path: Path) -> None:
    found = scores(0.1, 0.5, 0.9, 0.8, guard=[0.90, 0.86, 0.84, 0.2])
    looks = looks_of(tmp_path, replace(BEST, look_every=1.0), found)
    run(looks, tmp_path)
    assert [look.step for look in looks.chosen()] == [10]
    assert looks.can_publish()


def test_nothing_is_published_when_the_guard_fell_at_every_look(tmp_path: Path) -> None:
    found = scores(0.1, 0.5, 0.9, 0.8, guard=[0.90, 0.5, 0.6, 0.2])
    looks = looks_of(tmp_path, replace(BEST, look_every=1.0), found)
    run(looks, tmp_path)
    assert not looks.can_publish()
    with pytest.raises(TuningError, match=r"guard rows fell from 0\.90 to 0\.60 at best; lower learning_rate"):
        looks.chosen()


def test_the_weights_after_the_last_step_are_guarded_too(tmp_path: Path) -> None:
    found = scores(0.1, 0.5, 0.9, 0.8, guard=[0.90, 0.89, 0.9, 0.2])
    looks = looks_of(tmp_path, LoraRecipe(patience=9, look_every=1.0, learning_rate=1e-3), found)
    run(looks, tmp_path)
    with pytest.raises(
        TuningError, match=r"ended with is not worth publishing: the guard rows fell from 0\.90 to 0\.20"
    ):
        looks.chosen()


def test_a_mean_that_is_worse_than_its_looks_is_refused(tmp_path: Path) -> None:
    looks = looks_of(tmp_path, replace(BEST, keep="mean"), scores(*[0.5] * 7, guard=[0.9] * 7))
    run(looks, tmp_path)
    looks.refuse_bad_mean(Measured(0.5, 1.0, 0.86))
    with pytest.raises(TuningError, match="the mean of the last looks is worse than each of them; set keep to best"):
        looks.refuse_bad_mean(Measured(0.5, 1.0, 0.5))


def test_looks_are_no_closer_than_steps(tmp_path: Path) -> None:
    looks = looks_of(tmp_path, replace(BEST, look_every=1e-9), scores(*[0.5] * 31))
    assert run(looks, tmp_path) == list(range(31))


def test_a_file_system_without_links_takes_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any) -> None:
        raise OSError("no links here")

    monkeypatch.setattr("os.link", refused)
    looks = looks_of(tmp_path, replace(BEST, look_every=1.0), scores(0.9, 0.5, 0.7, 0.6))
    run(looks, tmp_path)
    assert looks.weights_of(looks.chosen()[0]).read_text() == "20"


def test_a_loss_that_is_no_number_makes_no_look_worth_publishing(tmp_path: Path) -> None:
    looks = looks_of(tmp_path, replace(BEST, look_every=5.0), [Measured(0.1, 1.0), Measured(1.0, None)])
    run(looks, tmp_path)
    with pytest.raises(TuningError, match="was never a number; lower learning_rate"):
        looks.chosen()


def test_a_checkpoint_holds_the_looks_up_to_it(tmp_path: Path) -> None:
    looks = looks_of(tmp_path, replace(BEST, look_every=1.0, patience=2), scores(0.9, 0.5, 0.4, 0.3))
    run(looks, tmp_path)
    other: Any = looks_of(tmp_path, replace(BEST, look_every=1.0, patience=2), [])
    other.restore(looks.stored())
    assert (other.taken, other.ended) == (looks.taken, looks.ended)
    assert other.chosen() == looks.chosen()
    assert not other.is_due(30)
