"""What requests to /v1/fine_tuning/jobs ask for: the fields of their bodies, which pydantic checks.

asked.numbers, asked.at     what was said of epochs, batches and rates, and where
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from serving.errors import Invalid
from serving.http.body import Fields, Metadata

# What a job can learn, by the `type` of its method: objectives of the rows that checking.py makes.
LEARNED = ("supervised", "dpo")
AUTO = "auto"
MAX_EPOCHS, MAX_BATCH = 50, 256
MAX_SEED = 2**31 - 1
DEFAULT_NAME = "tuned"

_SUFFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def _whole(given: object, most: int) -> int | None:
    if given is None or given == AUTO:
        return None
    if isinstance(given, bool) or not isinstance(given, int) or not 1 <= given <= most:
        raise ValueError(f"must be {AUTO!r} or a whole number from 1 to {most}, not {given!r:.40}")
    return given


def _factor(given: object) -> float | None:
    if given is None or given == AUTO:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 < given < math.inf:
        raise ValueError(f"must be {AUTO!r} or a number above 0, not {given!r:.40}")
    return float(given)


def _suffix(given: str) -> str:
    if not _SUFFIX.fullmatch(given):
        raise ValueError(
            f"must be 1 to 64 letters, digits, '.', '_' and '-' that begin with a letter or digit, not {given!r:.80}"
        )
    return given


def _known_type(given: str) -> str:
    if given not in LEARNED:
        known = " or ".join(map(repr, LEARNED))
        raise PydanticCustomError("literal_error", "is not supported", {"expected": known})
    return given


def _nothing(given: object) -> object:
    if given not in (None, []):
        raise PydanticCustomError("extra_forbidden", "not supported")
    return given


Epochs = Annotated[
    int | None,
    BeforeValidator(
        lambda given: _whole(given, MAX_EPOCHS),
        json_schema_input_type=Literal["auto"] | Annotated[int, Field(ge=1, le=MAX_EPOCHS)],
    ),
    Field(description="Passes over the rows."),
]
BatchSize = Annotated[
    int | None,
    BeforeValidator(
        lambda given: _whole(given, MAX_BATCH),
        json_schema_input_type=Literal["auto"] | Annotated[int, Field(ge=1, le=MAX_BATCH)],
    ),
    Field(description="Rows a step."),
]
Factor = Annotated[
    float | None,
    BeforeValidator(_factor, json_schema_input_type=Literal["auto"] | Annotated[float, Field(gt=0)]),
    Field(description="Times the rate that suits the method and the batch."),
]
Beta = Annotated[
    float | None,
    BeforeValidator(_factor, json_schema_input_type=Literal["auto"] | Annotated[float, Field(gt=0)]),
    Field(description="How much a departure from the beginning costs: lower departs further."),
]
Unsupported = Annotated[Any, AfterValidator(_nothing), Field(description="Not supported; leave it out.")]


class Hyperparameters(Fields):
    """What `auto` leaves open follows from the rows (docs/tuning.md)."""

    n_epochs: Epochs = None
    batch_size: BatchSize = None
    learning_rate_multiplier: Factor = None


class DpoHyperparameters(Hyperparameters):
    """Those of preference pairs."""

    beta: Beta = None


class Supervised(Fields):
    """How a supervised training goes."""

    hyperparameters: Hyperparameters | None = None


class Dpo(Fields):
    """How a training on preference pairs goes."""

    hyperparameters: DpoHyperparameters | None = None


class Method(Fields):
    """What is learned, and how: `type` says which of the sections is read, and the others are left out."""

    type: Annotated[str, AfterValidator(_known_type), Field(json_schema_extra={"enum": [*LEARNED]})]
    supervised: Supervised | None = None
    dpo: Dpo | None = None
    reinforcement: Unsupported = None


_EXAMPLE: dict[str, Any] = {
    "model": "org/base",
    "training_file": "file-1a2b",
    "suffix": "support",
    "method": {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}},
}


class CreateJob(Fields, json_schema_extra={"examples": [_EXAMPLE]}):
    """The body of `POST /v1/fine_tuning/jobs`."""

    model: Annotated[str, Field(description="The base model, or `base:adapter` to train that one further.")]
    training_file: Annotated[str, Field(description="A file uploaded with purpose `fine-tune`.")]
    validation_file: Annotated[
        str | None, Field(description="Another one; the training is looked at with its rows.")
    ] = None
    hyperparameters: Annotated[Hyperparameters | None, Field(description="The older place of those of the method.")] = (
        None
    )
    method: Method | None = None
    suffix: Annotated[
        Annotated[str, AfterValidator(_suffix)] | None, Field(description="What the model is called.")
    ] = None
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None
    metadata: Metadata | None = None
    integrations: Unsupported = None
    arbiter: Annotated[
        dict[str, Any] | None,
        Field(description="Numbers of an adapter as a config has them, such as `method` and `rank`."),
    ] = None

    @property
    def objective(self) -> str:
        """The name of what is learned."""
        return self.method.type if self.method is not None else "supervised"

    @property
    def at(self) -> str:
        """Where the hyperparameters stand, or would."""
        return f"method.{self.objective}.hyperparameters" if self.hyperparameters is None else "hyperparameters"

    @property
    def numbers(self) -> Hyperparameters:
        """The hyperparameters, from wherever they stand; of preference pairs with a beta. Raises Invalid where they are
        given twice, or for another objective.
        """
        kind = DpoHyperparameters if self.objective == "dpo" else Hyperparameters
        of_method = None
        for name in LEARNED:
            section = getattr(self.method, name, None)
            if name == self.objective:
                of_method = section.hyperparameters if section is not None else None
            elif section is not None:
                fault = f"method.{name}: goes with type {name!r}, and the type is {self.objective!r}; leave one out"
                raise Invalid(fault, param=f"method.{name}")
        if self.hyperparameters is not None and of_method is not None:
            given = f"hyperparameters: given twice; leave them to method.{self.objective}"
            raise Invalid(given, param="hyperparameters")
        return of_method or (kind(**dict(self.hyperparameters)) if self.hyperparameters is not None else kind())
