"""What a training showed when it was looked at: `Look(step=20, score=0.8, loss=0.3, guard=None)`."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Measured:
    """How right a model's answers are."""

    score: float
    """The mean score of the dev rows, 0 to 1; of pairs the share of those that are ranked as people did, of documents
    the mean probability of a token."""
    loss: float | None
    """The mean loss of a token of their answers, of a choice between two or of a token; None where it is no number."""
    guard: float | None = None
    """The mean score of the guard rows, where there are any."""


@dataclass(frozen=True, slots=True)
class Look:
    """What was measured after so many steps; step 0 is the base model."""

    step: int
    score: float
    loss: float | None
    guard: float | None = None


@dataclass(frozen=True, slots=True)
class Compression:
    """What was made smaller, as counted in the files that are served.

    `before` is the full name of the adapter that it was before, "" for the base model; `kind` the pattern of the zeros
    (unstructured, 2:4), or what was rounded to (nf4, int8). Of the `layer_numbers` weights of the layers that it is
    about, `layer_zeros` are 0. The files hold `numbers` weights in all, `nonzero` of them not 0, in `num_bytes`: zeros
    are written out, and rounded numbers as the floats that they stand for. `packed_bytes` is what the bits and their
    scales would take, None where zeros were made. With `is_trained` what was left was trained.
    """

    before: str
    kind: str
    layer_numbers: int
    layer_zeros: int
    numbers: int
    nonzero: int
    num_bytes: int
    packed_bytes: int | None = None
    is_trained: bool = False

    @property
    def sparsity(self) -> float:
        """The share of zeros in its layers."""
        return self.layer_zeros / self.layer_numbers


@dataclass(frozen=True, slots=True)
class Published:
    """The weights that were published: after which steps, several where they are a mean, and what was measured."""

    steps: tuple[int, ...]
    score: float
    loss: float | None
    guard: float | None = None


@dataclass(frozen=True, slots=True)
class Drawn:
    """Of each step of a training that draws its answers: their mean reward, how many nats they had become likelier than
    at the beginning, and the share of prompts whose answers were all worth the same, so that nothing was learned of
    them.
    """

    reward: tuple[float, ...]
    departure: tuple[float, ...]
    alike: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean, and where it lies with 95% confidence."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Preference:
    """How often, and by how much, a model prefers the answers that were chosen, of pairs that it was not trained on.

    A pair is right where the chosen answer has the higher mean log-probability a token, and its margin is the
    difference, in nats. `reward_accuracy` is the share of pairs whose chosen answer has gained more than the rejected
    one since the training began; None for an objective without a reference.
    """

    num_pairs: int
    num_prompts: int
    accuracy_before: Interval
    accuracy: Interval
    margin_before: Interval
    margin: Interval
    margin_change: Interval
    reward_accuracy: Interval | None = None
