"""Trainings that begin with an adapter."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fakes import trainings

from storage.folders import read_manifest
from tuning.base import ResolvedModel
from tuning.errors import TuningError
from tuning.export.adapters import Adapter
from tuning.methods.converted import CONVERTED
from tuning.methods.lora import LoraRecipe, RsLoraRecipe
from tuning.methods.lora_fa import LoraFaRecipe
from tuning.methods.lora_plus import LoraPlusRecipe
from tuning.methods.qlora import QloraRecipe
from tuning.methods.registry import METHODS
from tuning.methods.soft_prompt import PromptRecipe
from tuning.methods.whole import FullRecipe
from tuning.recipe import Recipe
from tuning.training.obstacles import obstacles
from tuning.training.progress import TrainProgress
from tuning.training.start import settle

# It trains.
pytestmark = pytest.mark.slow

FIRST = LoraRecipe(rank=4, alpha=8, learning_rate=0.03, epochs=12, batch_size=2)
FURTHER = replace(FIRST, learning_rate=0.001, epochs=2)


class Home:
    """One data directory, and the base model of all trainings."""

    def __init__(self, base: Path, home: Path) -> None:
        self.base, self.home = ResolvedModel("org/tiny", "r1", str(base)), home
        self.adapters = home / "adapters"

    def train(self, recipe: Recipe, **changes: Any) -> Adapter:
        return trainings.train(Path(self.base.path), self.home, **{"name": "colours", "recipe": recipe, **changes})

    def first_loss(self, recipe: Recipe) -> float:
        return float(read_manifest(self.train(recipe).path)["loss_curve"][0])


@pytest.fixture(scope="module")
def home(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Home:
    return Home(tiny_base, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def first(home: Home) -> Adapter:
    return home.train(FIRST)


@pytest.mark.parametrize(
    "further",
    [
        FURTHER,
        LoraPlusRecipe(rank=4, alpha=8, learning_rate=0.001, epochs=2, batch_size=2),
        LoraFaRecipe(rank=4, alpha=8, learning_rate=0.001, epochs=2, batch_size=2),
    ],
    ids=lambda recipe: recipe.method,
)
def test_a_training_goes_on_where_the_adapter_ended(further: Recipe, home: Home, first: Adapter) -> None:
    went_on = home.train(replace(further, continue_from=first.name))
    curve = read_manifest(went_on.path)["loss_curve"]
    assert curve[0] < first.final_loss, "which is the mean of the last ten steps"
    assert curve[0] < home.first_loss(further) / 5
    assert went_on.name != first.name
    assert read_manifest(went_on.path)["recipe"]["continue_from"] == first.name


def test_whole_weights_go_on_too(home: Home) -> None:
    whole = FullRecipe(learning_rate=0.01, epochs=12, batch_size=2)
    first = home.train(whole, name="whole")
    further = replace(whole, learning_rate=1e-4, epochs=2, continue_from=first.name)
    curve = read_manifest(home.train(further, name="whole").path)["loss_curve"]
    assert curve[0] == pytest.approx(first.final_loss, abs=0.2)
    assert curve[0] < read_manifest(first.path)["loss_curve"][0] / 5


def test_what_would_be_rounded_to_four_bits_again_is_no_beginning() -> None:
    with pytest.raises(TuningError, match=r"continue_from must be empty with qlora: .* rounded to four bits again"):
        QloraRecipe(continue_from="whole@00000000")


def test_a_prompt_of_numbers_is_no_beginning(home: Home) -> None:
    recipe = PromptRecipe(num_tokens=2, learning_rate=0.3, epochs=2, batch_size=2)
    first = home.train(recipe, name="prompt")
    with pytest.raises(TuningError, match="cannot be trained further: it is of the form prompt, not lora or merged"):
        home.train(replace(recipe, continue_from=first.name), name="prompt")


def test_a_stopped_training_that_continues_another_ends_with_the_same_weights(
    home: Home, first: Adapter, tmp_path: Path
) -> None:
    recipe = replace(FURTHER, continue_from=first.name, learning_rate=0.002)
    whole = home.train(recipe)

    def interrupt(progress: TrainProgress) -> None:
        if progress.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        home.train(recipe, name="other", progress=interrupt, checkpoint_every_s=0.0)
    again = home.train(recipe, name="other")
    assert again.name.partition("@")[2] == whole.name.partition("@")[2]


def _gone(first: Adapter) -> Recipe:
    return replace(FURTHER, continue_from="colours@00000000")


def _elsewhere(first: Adapter) -> Recipe:
    return replace(FURTHER, continue_from=f"../adapters/{first.name}")


@pytest.mark.parametrize(
    ("recipe", "fault"),
    [
        (_gone, r"continue_from 'colours@00000000' is no adapter here; there is .*colours@"),
        (_elsewhere, "is no adapter here"),
        (lambda first: replace(FURTHER, rank=8, continue_from=first.name), "it has rank 4, and this training 8"),
        (lambda first: replace(FURTHER, alpha=9, continue_from=first.name), "it has alpha 8, and this training 9"),
        (
            lambda first: RsLoraRecipe(rank=4, alpha=8, continue_from=first.name),
            "it has method: rslora False, and this training True",
        ),
        (
            lambda first: replace(FURTHER, rank_pattern={"q_proj": 2}, continue_from=first.name),
            r"it has rank_pattern \{\}, and this training \{'q_proj': 2\}",
        ),
        (
            lambda first: replace(FURTHER, layers=(0,), continue_from=first.name),
            r"other layers are trained: model\.layers\.1\.mlp\.down_proj\.lora_A; train with its numbers",
        ),
        (
            lambda first: replace(CONVERTED[0].recipe(), continue_from=first.name),
            "cannot be trained further by vera, .*use one of lora, rslora, lora_plus, lora_fa",
        ),
        (lambda first: FullRecipe(continue_from=first.name), "cannot be trained further by full"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(
    recipe: Callable[[Adapter], Recipe], fault: str, home: Home, first: Adapter
) -> None:
    with pytest.raises(TuningError, match=fault) as caught:
        home.train(recipe(first))
    assert "\n" not in str(caught.value)
    told = obstacles({"it": settle(recipe(first), 5, home.adapters)}, home.base, home.adapters)
    assert told == {"it": str(caught.value)}, "before anything is trained"


def test_an_adapter_of_another_base_is_refused(home: Home, first: Adapter) -> None:
    other, recipe = replace(home.base, revision="r2"), replace(FURTHER, continue_from=first.name)
    with pytest.raises(TuningError, match=r"was trained on org/tiny r1 with .*, not on org/tiny r2") as caught:
        home.train(recipe, base=other)
    assert obstacles({"it": recipe}, other, home.adapters) == {"it": str(caught.value)}


def test_what_fits_is_not_refused_before_it_is_trained(home: Home, first: Adapter) -> None:
    scale = {"rank": 4, "alpha": 8, "continue_from": first.name}
    recipes = {method: settle(METHODS[method].recipe(**scale), 5, home.adapters) for method in ("lora", "eva")}
    assert obstacles(recipes, home.base, home.adapters) == {}
    narrow = {"eva": replace(recipes["eva"], alpha=9)}
    assert "it has alpha 8, and this training 9" in obstacles(narrow, home.base, home.adapters)["eva"]


@pytest.mark.parametrize("num_rows", [5, 10_000])
def test_a_rank_that_is_left_open_is_that_of_the_adapter(num_rows: int, home: Home, first: Adapter) -> None:
    further = replace(FURTHER, rank=None, continue_from=first.name)
    assert settle(further, num_rows, home.adapters) == settle(replace(further, rank=4), num_rows, home.adapters)
    # A merged model has none to go on with, and what is not there is told elsewhere.
    for name in ("gone@00000000", "../base"):
        assert settle(replace(further, continue_from=name), num_rows, home.adapters).rank == 16 * (
            1 + num_rows // 10_000
        )
    assert read_manifest(home.train(further).path)["recipe"]["rank"] == 4
