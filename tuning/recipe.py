"""What a training is told: the numbers that every one has, its method and its objective; and a method as a value."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import Field

from storage.settings import NUMBER, Above0, Count, NotNegative, Share, Whole, settings
from tuning.data.rows import Row
from tuning.errors import TuningError
from tuning.objectives.pretraining import Pretraining
from tuning.objectives.registry import OBJECTIVES, AnyObjective
from tuning.objectives.supervised import Supervised
from tuning.optimizers.registry import OPTIMIZERS, OptimizerName
from tuning.packages import missing

if TYPE_CHECKING:
    import torch

    from tuning.look import Compression

Rate = Annotated[float, Field(gt=0, le=1), NUMBER]

N = TypeVar("N", int, float)


def known(number: N | None) -> N:
    """A number that a recipe may leave open; every training begins with those of `tuning.automatic.settled`."""
    assert number is not None, "the recipe is not settled"
    return number


@settings(TuningError)
class Recipe:
    """One adapter: how it is trained, and the shape of its rows. Each method adds numbers of its own."""

    method: str = ""
    """What moves; `arbiter tune --list` shows all of them."""
    objective: AnyObjective = Supervised()
    """What is learned: a name, or one with numbers of its own such as `{name: dpo, beta: 0.3}`."""
    learning_rate: Rate | None = None
    """The highest: it rises over `warmup_fraction` of the steps and falls linearly to 0. It is AdamW's; an optimizer
    that needs another takes a multiple of it. Null is the method's usual one for batches of 4 (`arbiter tune --list`),
    times the square root of how many times as large the batch is, times a factor of the objective's own."""
    optimizer: OptimizerName = "adamw"
    """What moves the weights; `arbiter tune --list` shows what each keeps and needs."""
    optimizer_rank: Count | None = None
    """The rank at which `galore` and `apollo` see a gradient; null is a quarter of a matrix's smaller side, 4 at
    least."""
    epochs: Above0 | None = None
    """Passes over the rows; may be a fraction. Null is 3 for 300 to 3,000 rows, or 2 if they have passages, more for
    fewer and fewer for more, as the square root of their number: 6 for 75, 1.5 for 12,000; from 1 to 10."""
    batch_size: Count | None = None
    """Rows a step. Null is 4, or as many, up to 32, as make no more than 4,000 steps."""
    accumulate: Count = 1
    """How many parts a batch is worked on in, one after the other: more take less memory, and change nothing else.
    `batch_size` is a multiple of it."""
    neftune_alpha: NotNegative = 0.0
    """Noise that is added to the embeddings of each row (NEFTune); 0 is none, 5 is usual."""
    max_length: Annotated[int, Field(ge=8), NUMBER] = 1024
    """Rows of more tokens are left out and counted."""
    warmup_fraction: Annotated[float, Field(ge=0, lt=1), NUMBER] = 0.1
    """The share of the steps over which the learning rate rises."""
    keep: Literal["last", "best", "mean"] = "last"
    """Which weights are published: those after the last step, those that answered the dev rows best, or the mean of the
    last three looks."""
    look_every: Above0 = 0.5
    """Epochs between two looks at the dev rows, if there are any: with `keep` best or mean, or with `patience`."""
    look_rows: Count = 64
    """At most so many dev rows are looked at, and as many of guard.jsonl."""
    patience: Whole = 0
    """Stop after so many looks that were no better than the best; 0 is never."""
    guard_drop: Share = 0.05
    """By how much the score of the rows in guard.jsonl may fall; a look where it fell further is not published."""
    continue_from: str = ""
    """The full name of an adapter to begin with in place of the base model; it has the same shape and method. A rank
    that is left open is the adapter's."""
    seed: Whole = 0
    """Of the first weights and the order of the rows."""
    passages: Whole = 0
    """0 trains closed-book; n trains RAFT, each question with n passages."""
    golden_fraction: Share = 0.8
    """The share of RAFT's rows that have the golden passage among theirs."""

    # The learning rate that suits the method with batches of 4; no setting, as all that follows.
    usual_rate = 1e-3
    # What a method does that not every optimizer can do with it.
    own_optimizer = False
    acts_after_steps = False

    def __post_init__(self) -> None:
        if self.batch_size is not None and self.batch_size % self.accumulate:
            raise ValueError(f"batch_size ({self.batch_size}) must be a multiple of accumulate ({self.accumulate})")
        if fault := self._optimizer_fault() or self._objective_fault():
            raise ValueError(fault)

    def _optimizer_fault(self) -> str | None:
        """Why the optimizer does not go with the rest of the recipe; None if it does."""
        optimizer, name = OPTIMIZERS[self.optimizer], self.optimizer
        if self.own_optimizer and name != "adamw":
            return f"optimizer must be adamw, not {name!r}: {self.method} brings its own way to move the weights"
        if optimizer.in_backward and self.accumulate > 1:
            return f"accumulate ({self.accumulate}) must be 1 with {name}, which moves weights in the backward pass"
        if optimizer.averages and self.has_looks:
            return f"keep must be last and patience 0 with {name}, whose mean of the weights no look sees"
        if self.acts_after_steps and (optimizer.in_backward or optimizer.averages):
            why = "has no steps" if optimizer.in_backward else "serves a mean over the steps"
            return f"optimizer must be another than {name!r}, which {why}: {self.method} changes weights after each"
        if self.optimizer_rank is not None and not optimizer.has_rank:
            return f"optimizer_rank ({self.optimizer_rank}) must be null with {name}; it is for galore and apollo"
        return None

    def _objective_fault(self) -> str | None:
        """Why the objective does not go with the rest of the recipe; None if it does."""
        name = self.objective.name
        objective = OBJECTIVES[name]
        if (why := objective.unfit.get(self.method)) is not None:
            return f"objective must be another than {name!r} with {self.method}: {why}"
        if isinstance(self.objective, Pretraining) and self.passages:
            return f"passages ({self.passages}) must be 0 with objective {name}, whose rows are parts of documents"
        if isinstance(self.objective, Pretraining) and self.objective.window > self.max_length:
            return f"max_length ({self.max_length}) must be at least {self.objective.window}, the objective's window"
        return None

    @property
    def finer_parts(self) -> list[int]:
        """The values of `accumulate` that take less memory than the recipe's own, in order."""
        if OPTIMIZERS[self.optimizer].in_backward:
            return []
        size = known(self.batch_size)
        return [n for n in range(self.accumulate + 1, size + 1) if size % n == 0]

    @property
    def has_looks(self) -> bool:
        """Whether the training is looked at while it goes on."""
        return self.keep != "last" or self.patience > 0


@dataclass(frozen=True, slots=True)
class CheckRows:
    """Rows that a training is looked at with, and not trained on.

    Of examples `score(answers)` gives the scores, 0 to 1, of one answer a row by `metric`, which decides; without it an
    answer scores 1 where it is the completion and 0 elsewhere, however long it is.
    """

    rows: Sequence[Row]
    metric: str = "exact_match"
    score: Callable[[Sequence[str]], Sequence[float]] | None = None


@dataclass(frozen=True, slots=True)
class Worth:
    """What answers are rewarded with that a model draws in its training: `name` is a metric's or an adapter's.

    `score(places, answers)` gives what answers to the rows of these places are worth; in its place `adapter` is the
    folder of an adapter with objective `reward`.
    """

    name: str
    score: Callable[[Sequence[int], Sequence[str]], Sequence[float]] | None = None
    adapter: Path | None = None


@dataclass(frozen=True, slots=True)
class Teacher:
    """A larger model elsewhere: `name` is what tells it from others.

    `spell(text)` gives the id and the text of each token that it reads a text as, but for the first. `read(texts,
    starts, top)` gives of texts of token ids, of each place from a start on (1 at least), the text's own token there
    and the `top` likeliest, with their log-probabilities. Both raise an ArbiterError where it cannot be asked.
    """

    name: str
    spell: Callable[[str], Sequence[tuple[int, str]]]
    read: Callable[[Sequence[Sequence[int]], Sequence[int], int], Sequence[Sequence[Sequence[tuple[int, float]]]]]


Form = Literal["lora", "prompt", "merged", "beside", "topics"]
"""What is served: an adapter that vLLM swaps, a prompt of numbers that it is sent, whole weights, what it cannot
compute, on an engine beside it, or the one adapter of a set whose topic is nearest to the question.
"""
Quantization = Literal["", "nf4"]
"""How the base's linear layers are stored while it is trained on: as they are, or in four bits a number, one scale for
each 64 of them, and the scales in eight bits (NF4 with double quantization).
"""

OWN_ENGINE: tuple[Form, ...] = ("merged", "beside")
"""The forms that have an engine of their own, from when they are loaded until they are unloaded."""


@dataclass(frozen=True, slots=True)
class Occasion:
    """What a method may look at before the first step.

    `batches(rows, count)` gives the first `count` batches of so many rows as tensors (rows, length), padded on the
    right: input_ids, attention_mask, labels. `num_steps` is how many steps the training will take.
    """

    batches: Callable[[int, int], Sequence[dict[str, torch.Tensor]]]
    num_steps: int


@dataclass(kw_only=True, eq=False)
class Prepared:
    """A model whose trained weights are in place, and what its training needs besides.

    `optimizer(learning_rate)` in place of AdamW. `on_step(step)` is called after every step of the optimizer, counted
    from 0, while its gradients are there. `penalty()` is added to the loss of every batch. `state()` is what a
    checkpoint must hold besides the trained weights, by name; `restore(state)` takes it back, after the weights.
    """

    model: Any
    optimizer: Callable[[float], Any] | None = None
    on_step: Callable[[int], None] | None = None
    penalty: Callable[[], torch.Tensor] | None = None
    state: Callable[[], dict[str, Any]] = dict
    restore: Callable[[dict[str, Any]], None] = lambda _: None


@dataclass(frozen=True, slots=True)
class Method:
    """What moves in a training, and what is served of it.

    `recipe` holds its numbers. `prepare(model, recipe, occasion)` gives the model with its trained weights in place,
    drawn from torch's generator and nothing else, so that a resumed training begins with the same ones; raises
    TuningError where the recipe does not fit the model. `fit(model, recipe)` is what of `prepare` looks at neither rows
    nor weights, and raises the same; None where that is all of it. `export(prepared, recipe, folder)` writes what is
    served.
    `fits_all(recipe)` says of a recipe that no base model is against its numbers, so that none is looked at.
    `export_rank(recipe)` is the largest LoRA rank of what is exported, 0 for what is no LoRA. With `moves_base` the
    base is loaded in float32 whatever the training's precision: its weights move, or are served changed. With
    `quantization` it is stored in fewer bits instead, and what is served is that base, in float32.
    With `merges_start` it can continue a LoRA, which is merged into the base before.
    `measure(folder, shapes, recipe)` gives what the manifest tells of the exported files under `compression`, where
    `shapes` is the model without weights. Raises TuningError where they are not what the recipe says.
    `num_numbers(model, recipe)` is how many numbers are exported, of what is neither a LoRA nor a whole model.
    `package` is what it needs besides, and `install` the line that brings it; `needs_cuda` says what of it only a CUDA
    GPU can do, and what to take on a CPU.
    """

    name: str
    title: str
    paper: str
    recipe: type[Recipe]
    prepare: Callable[[Any, Any, Occasion], Prepared]
    export: Callable[[Prepared, Any, Path], None]
    fit: Callable[[Any, Any], object] | None = None
    fits_all: Callable[[Any], bool] = lambda _: False
    export_rank: Callable[[Any], int] = lambda _: 0
    form: Form = "lora"
    moves_base: bool = False
    merges_start: bool = False
    measure: Callable[[Path, Any, Any], Compression] | None = None
    num_numbers: Callable[[Any, Any], int] | None = None
    quantization: Quantization = ""
    package: str = ""
    install: str = ""
    needs_cuda: str = ""

    def obstacle(self) -> str | None:
        """Why it cannot train on this machine, and what helps, in a line; None where it can."""
        if self.needs_cuda:
            import torch

            if not torch.cuda.is_available():
                return f"method {self.name} needs a CUDA GPU, {self.needs_cuda}"
        return missing(f"method {self.name}", self.package, self.install)
