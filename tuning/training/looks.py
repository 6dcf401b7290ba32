"""Looks at a training while it goes on: how right the weights are so far, and which of them are published.

looks = Looks(recipe=recipe, folder=folder, steps_per_epoch=38, num_steps=75, measure=measure)
looks.take(38, model), looks.keep(checkpoint)
looks.chosen()    the looks whose weights are published
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from storage.records import from_row
from tuning.errors import TuningError
from tuning.look import Look, Measured
from tuning.recipe import Recipe

# What a checkpoint holds of the weights that move.
TRAINED = "trained.pt"
# So many of the last looks are averaged.
MEAN_OF = 3


@dataclass(kw_only=True, eq=False)
class Looks:
    """The looks of one training. `measure(model)` takes one; the weights of those that may be published lie in
    `folder`/looks.
    """

    recipe: Recipe
    folder: Path
    steps_per_epoch: float
    num_steps: int
    measure: Callable[[Any], Measured]
    taken: list[Look] = field(default_factory=list)
    ended: str = ""
    """Why the training ended before its last step, if it did."""

    def __post_init__(self) -> None:
        every = max(self.recipe.look_every * self.steps_per_epoch, 1.0)
        count = math.floor(self.num_steps / every)
        self._due = {round(number * every) for number in range(1, count + 1)} | {0, self.num_steps}

    def restore(self, stored: dict[str, Any]) -> None:
        """What a checkpoint's manifest holds: all looks up to it."""
        self.taken = [from_row(Look, row) for row in stored["taken"]]
        self.ended = stored["ended"]

    def stored(self) -> dict[str, Any]:
        """For the manifest of a checkpoint."""
        return {"taken": [asdict(look) for look in self.taken], "ended": self.ended}

    def is_due(self, step: int) -> bool:
        """Whether a look belongs after this step, and was not taken."""
        return step in self._due and all(look.step != step for look in self.taken)

    def take(self, step: int, model: Any) -> None:
        """Look; `ended` is set where no further step is worth it."""
        found = self.measure(model)
        self.taken.append(Look(step, found.score, found.loss, found.guard))
        patience, best = self.recipe.patience, self.best()
        since = [look for look in self.taken if look.step > (best.step if best else 0)]
        if patience and len(since) >= patience and step < self.num_steps:
            self.ended = f"no look was better than that after step {best.step if best else 0}, {len(since)} times"

    def keep(self, checkpoint: Path) -> None:
        """Keep the weights of a checkpoint that was written at the last look, as long as they may be published."""
        look = self.taken[-1]
        if self.recipe.keep != "last" and look.step > 0 and self._is_good(look):
            kept = self.weights_of(look)
            kept.parent.mkdir(exist_ok=True)
            kept.unlink(missing_ok=True)
            try:
                os.link(checkpoint / TRAINED, kept)
            except OSError:  # not every file system has links
                shutil.copyfile(checkpoint / TRAINED, kept)

    def prune(self) -> None:
        """Delete weights that will not be published; to be called once a checkpoint that knows the looks is whole."""
        wanted = {self.weights_of(look) for look in self._candidates()}
        for path in (self.folder / "looks").glob("*.pt"):
            if path not in wanted:
                path.unlink()

    def weights_of(self, look: Look) -> Path:
        """Where the weights of a look lie."""
        return self.folder / "looks" / f"{look.step}.pt"

    def best(self) -> Look | None:
        """The good look with the highest score, the lower loss where scores are equal."""
        return max(self._good(), key=lambda look: (look.score, -(look.loss or 0.0)), default=None)

    def chosen(self) -> tuple[Look, ...]:
        """The looks whose weights are published, several to be averaged; none where those after the last step are.

        Raises TuningError where a look was to be chosen and none is good.
        """
        if self.recipe.keep == "last":
            if not self._is_good(self.taken[-1]):
                raise TuningError(f"what this training ended with is not worth publishing: {self._faults()}")
            return ()
        if not (found := self._candidates()):
            raise TuningError(f"no look at this training is worth publishing: {self._faults()}")
        return found

    def refuse_bad_mean(self, found: Measured) -> None:
        """Raise TuningError where a mean of good looks is none."""
        if not self._is_good(found):
            raise TuningError("the mean of the last looks is worse than each of them; set keep to best")

    def can_publish(self) -> bool:
        """Whether the weights of some look may be published whatever comes after it."""
        return self.recipe.keep != "last" and bool(self._candidates())

    def _candidates(self) -> tuple[Look, ...]:
        if self.recipe.keep == "mean":
            return self._good()[-MEAN_OF:]
        best = self.best()
        return (best,) if best else ()

    def _good(self) -> tuple[Look, ...]:
        return tuple(look for look in self.taken if look.step > 0 and self._is_good(look))

    def _is_good(self, found: Look | Measured) -> bool:
        return found.loss is not None and not self._has_forgotten(found)

    def _has_forgotten(self, found: Look | Measured) -> bool:
        before = self.taken[0].guard
        return found.guard is not None and before is not None and found.guard < before - self.recipe.guard_drop

    def _faults(self) -> str:
        trained: Sequence[Look] = self.taken[-1:] if self.recipe.keep == "last" else self.taken[1:]
        if trained and all(map(self._has_forgotten, trained)):
            highest = max(look.guard or 0.0 for look in trained)
            return (
                f"the guard rows fell from {self.taken[0].guard:.2f} to {highest:.2f} at best; lower learning_rate "
                f"({self.recipe.learning_rate:.3g}), train on rows like them, too, or raise guard_drop "
                f"({self.recipe.guard_drop})"
            )
        return f"the loss of the dev rows was never a number; lower learning_rate ({self.recipe.learning_rate:.3g})"
