"""The optimizers by name, each a value: what it keeps, what it needs, what it cannot do, and how it is made.

made = OPTIMIZERS["muon"].make(model, Course(learning_rate=1e-3, num_steps=100, warmup_steps=10))
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from storage.errors import did_you_mean
from tuning.packages import missing

if TYPE_CHECKING:
    import torch

# Of a matrix's smaller side, the rank at which GaLore and APOLLO keep state of its gradient. Of fewer numbers a
# channel's length is no measure: on the toy of the tests APOLLO does not learn at rank 1.
_RANK_SHARE, _LEAST_RANK = 0.25, 4
# As GaLore and APOLLO have it, and in short trainings so many projections: the first gradient of a LoRA's A is 0, and
# what is projected by it moves an arbitrary part of A.
_MOST_STEPS, _PROJECTIONS = 200, 10


@dataclass(frozen=True, slots=True)
class Course:
    """What an optimizer is told of a training. `rank` is of GaLore and APOLLO; None is a quarter of a matrix's smaller
    side, 4 at least.
    """

    learning_rate: float
    num_steps: int
    warmup_steps: int
    rank: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Optimizer:
    """How gradients become steps.

    `make(model, course)` gives a torch optimizer of the weights that are trained; None is transformers' AdamW.
    `state_bytes` is what it keeps for each trained number, of a matrix of 256 x 256, as
    tests/tuning/optimizers/test_registry.py measures it; AdamW keeps 8. It takes `rate_factor` times a recipe's
    learning rate, which is AdamW's. `in_backward` ones have no step: weights move as soon as their gradient is there.
    `averages` ones have no schedule, and serve the mean of the weights that they went through.
    """

    name: str
    title: str
    paper: str
    state_bytes: float
    package: str = ""
    install: str = "pip install 'arbiter[optimizers]'"
    make: Callable[[Any, Course], Any] | None = None
    rate_factor: float = 1.0
    in_backward: bool = False
    averages: bool = False
    has_rank: bool = False
    needs_cuda: bool = False

    def obstacle(self) -> str | None:
        """Why it cannot train on this machine, and what helps, in a line; None where it can."""
        if lack := missing(f"optimizer {self.name}", self.package, self.install):
            return lack
        if self.needs_cuda:
            import torch

            if not torch.cuda.is_available():
                return (
                    f"optimizer {self.name} needs a CUDA GPU, where {self.package} puts its state; take lomo on a CPU"
                )
        return None


def _trained(model: Any) -> list[torch.nn.Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _matrices(model: Any) -> tuple[list[torch.nn.Parameter], list[torch.nn.Parameter]]:
    """The trained matrices, and the trained rest: vectors, embeddings and the head, which are left to AdamW."""
    import torch

    head = getattr(model, "get_output_embeddings", lambda: None)()
    tables = [part for part in model.modules() if part is head or isinstance(part, torch.nn.Embedding)]
    apart = {id(getattr(table, "weight", None)) for table in tables}
    matrices: list[torch.nn.Parameter] = []
    rest: list[torch.nn.Parameter] = []
    for weight in _trained(model):
        is_matrix = weight.ndim == 2 and min(weight.shape) > 1 and id(weight) not in apart
        (matrices if is_matrix else rest).append(weight)
    return matrices, rest


def _lomo(model: Any, course: Course) -> Any:
    from lomo_optim import Lomo
    from torch.nn import ParameterList

    # Of a whole model it would look at every frozen weight whenever a gradient is there.
    return _without_step(Lomo(ParameterList(_trained(model)), lr=course.learning_rate))


def _without_step(made: Any) -> Any:
    """Its step, which would be an error, does nothing: the backward pass has done all."""
    made.step = lambda closure=None: closure
    return made


def _adalomo(model: Any, course: Course) -> Any:
    from lomo_optim import AdaLomo
    from torch.nn import ParameterList

    weights = ParameterList(_trained(model))
    made = _without_step(AdaLomo(weights, lr=course.learning_rate))
    tables = ("exp_avg_sq", "exp_avg_sq_row", "exp_avg_sq_col")

    # Its own state_dict leaves out all that it keeps.
    def add(_: Any, state: dict[str, Any]) -> dict[str, Any]:
        return {**state, "step_num": made.step_num, "tables": {name: dict(getattr(made, name)) for name in tables}}

    def take_back(_: Any, state: dict[str, Any]) -> None:
        made.step_num = state["step_num"]
        for name, known in state["tables"].items():
            setattr(made, name, {key: value.to(weights[0].device) for key, value in known.items()})

    made.register_state_dict_post_hook(add)
    made.register_load_state_dict_pre_hook(take_back)
    return made


def _galore(model: Any, course: Course) -> Any:
    from galore_torch import GaLoreAdamW
    from galore_torch.galore_projector import GaLoreProjector

    groups = _low_rank(model, course, lambda side, rank: {"scale": math.sqrt(side / rank)})
    made = GaLoreAdamW(groups, lr=course.learning_rate, eps=1e-8, no_deprecation_warning=True)
    return _keep_projectors(made, GaLoreProjector)


def _apollo(model: Any, course: Course) -> Any:
    from apollo_torch import APOLLOAdamW
    from apollo_torch.random_projector import GradientProjector

    # The root is taken inside.
    groups = _low_rank(
        model, course, lambda side, rank: {"scale": side / rank, "proj": "random", "scale_type": "channel"}
    )
    # Its limiter lets a gradient grow by a hundredth a step: the A of a LoRA, whose first is 0, would never move.
    made = APOLLOAdamW(groups, lr=course.learning_rate, eps=1e-8, disable_nl=True)
    return _keep_projectors(made, GradientProjector)


def _low_rank(model: Any, course: Course, numbers: Callable[[int, int], dict[str, object]]) -> list[dict[str, Any]]:
    """Groups of matrices by their smaller side, which says their rank, and one without a rank, which AdamW moves.

    A projected step is shorter than AdamW's by the root of rank over side; `numbers(side, rank)` makes up for it.
    """
    matrices, rest = _matrices(model)
    by_side: dict[int, list[Any]] = {}
    for weight in matrices:
        by_side.setdefault(min(weight.shape), []).append(weight)
    groups: list[dict[str, Any]] = []
    for side, weights in sorted(by_side.items()):
        rank = course.rank or max(math.ceil(side * _RANK_SHARE), _LEAST_RANK)
        if rank >= side:  # nothing would be saved
            rest += weights
            continue
        gap = min(_MOST_STEPS, math.ceil(course.num_steps / _PROJECTIONS))
        groups.append(
            {"params": weights, "rank": rank, "update_proj_gap": gap, "proj_type": "std", **numbers(side, rank)}
        )
    return [*([{"params": rest}] if rest else []), *groups]


def _keep_projectors(made: Any, kind: type) -> Any:
    """The optimizer, whose checkpoints hold its projectors as plain values: torch loads no objects."""

    def to_plain(_: Any, state: dict[str, Any]) -> dict[str, Any]:
        return {**state, "state": {key: plain(known) for key, known in state["state"].items()}}

    def plain(known: dict[str, Any]) -> dict[str, Any]:
        if "projector" not in known:
            return known
        # torch takes a text apart where it loads a state; the only one is always the same.
        numbers = {name: value for name, value in vars(known["projector"]).items() if not isinstance(value, str)}
        return {**known, "projector": numbers}

    def to_objects(_: Any) -> None:
        for known in made.state.values():
            if "projector" in known:
                numbers = known["projector"]
                known["projector"] = kind(numbers["rank"])
                vars(known["projector"]).update(numbers)

    made.register_state_dict_post_hook(to_plain)
    made.register_load_state_dict_post_hook(to_objects)
    return made


def _muon(model: Any, course: Course) -> Any:
    from torch.optim import Muon

    # Steps as long as AdamW's: Liu et al. 2025, section 2.2.
    return _beside_adamw(model, course, Muon, weight_decay=0.0, adjust_lr_fn="match_rms_adamw")


def _adamw_8bit(model: Any, course: Course) -> Any:
    from bitsandbytes.optim import AdamW8bit

    # Tables of tokens need 32 bits (Dettmers et al. 2021, section 2.3). transformers says so in a register of the
    # process, which the next training would find.
    return _beside_adamw(model, course, AdamW8bit, weight_decay=0.0)


def _beside_adamw(model: Any, course: Course, kind: Callable[..., Any], **numbers: Any) -> Any:
    """One kind for the matrices, and AdamW for the rest."""
    from torch.optim import AdamW

    from tuning.optimizers.joined import Joined

    matrices, rest = _matrices(model)
    parts = [kind(matrices, lr=course.learning_rate, **numbers)] if matrices else []
    parts += [AdamW(rest, lr=course.learning_rate, weight_decay=0.0)] if rest else []
    return Joined(parts)


def _adam_mini(model: Any, course: Course) -> Any:
    from adam_mini import Adam_mini

    # It takes the shares of a weight that get a rate of their own from its name, and does not know an adapter's: rows
    # of matrices, as of its "mlp", and anything else as a whole. Rows are finer than its heads of queries and keys.
    named = [(f"{'mlp' if p.ndim == 2 else 'one'}.{number}", p) for number, p in enumerate(_trained(model))]
    return Adam_mini(named, lr=course.learning_rate, verbose=False)


def _schedule_free(model: Any, course: Course) -> Any:
    from schedulefree import AdamWScheduleFree

    return AdamWScheduleFree(_trained(model), lr=course.learning_rate, warmup_steps=course.warmup_steps)


_ALL = (
    Optimizer(
        name="adamw",
        title="AdamW: two averages of each number's gradient",
        paper="arxiv.org/abs/1711.05101",
        state_bytes=8.0,
    ),
    Optimizer(
        name="adamw_8bit",
        title="8-bit AdamW: its averages in a byte each, where a weight has 4,096 numbers or more",
        paper="arxiv.org/abs/2110.02861",
        state_bytes=2.06,
        package="bitsandbytes",
        make=_adamw_8bit,
    ),
    Optimizer(
        name="adam_mini",
        title="Adam-mini: one rate for each row of a matrix",
        paper="arxiv.org/abs/2406.16793",
        state_bytes=4.02,
        package="adam-mini",
        make=_adam_mini,
    ),
    Optimizer(
        name="muon",
        title="Muon: matrices move as far in every direction; the rest by AdamW",
        paper="arxiv.org/abs/2502.16982",
        state_bytes=4.0,
        make=_muon,
    ),
    Optimizer(
        name="schedule_free",
        title="Schedule-free AdamW: no falling rate; the mean of the weights is served",
        paper="arxiv.org/abs/2405.15682",
        state_bytes=8.0,
        package="schedulefree",
        make=_schedule_free,
        averages=True,
    ),
    Optimizer(
        name="galore",
        title="GaLore: AdamW of gradients in a quarter of their directions",
        paper="arxiv.org/abs/2403.03507",
        state_bytes=3.0,
        package="galore-torch",
        make=_galore,
        has_rank=True,
    ),
    Optimizer(
        name="apollo",
        title="APOLLO: plain gradients, each channel's length from AdamW of a random projection",
        paper="arxiv.org/abs/2412.05270",
        state_bytes=3.0,
        package="apollo-torch",
        install="pip install apollo-torch (its licence, CC BY-NC 4.0, is for non-commercial use alone)",
        make=_apollo,
        has_rank=True,
    ),
    Optimizer(
        name="lomo",
        title="LOMO: plain gradients, gone as soon as they have moved their weight",
        paper="arxiv.org/abs/2306.09782",
        state_bytes=0.0,
        package="lomo-optim",
        make=_lomo,
        rate_factor=300.0,
        in_backward=True,
    ),
    Optimizer(
        name="adalomo",
        title="AdaLomo: LOMO with a rate for each row and column",
        paper="arxiv.org/abs/2310.10195",
        state_bytes=0.03,
        package="lomo-optim",
        make=_adalomo,
        rate_factor=25.0,
        in_backward=True,
        needs_cuda=True,
    ),
)
OPTIMIZERS: Mapping[str, Optimizer] = {optimizer.name: optimizer for optimizer in _ALL}


def _known(name: object) -> object:
    if name not in OPTIMIZERS:
        raise ValueError(f"must be one of {', '.join(OPTIMIZERS)}, not {name!r}{did_you_mean(str(name), OPTIMIZERS)}")
    return name


OptimizerName = Annotated[str, BeforeValidator(_known), Field(json_schema_extra={"enum": [*OPTIMIZERS]})]
