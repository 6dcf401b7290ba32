"""Updates that are a LoRA in other clothes: fewer numbers are trained, and vLLM is given A and B, by singular values.

That is exact at the update's own rank, which each method knows before it is trained; PEFT's conversion has one rank for
layers of all sizes, and cuts them to the smallest.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from storage.settings import NUMBER, Above0, Count, settings
from tuning.errors import TuningError
from tuning.methods.difference import PREFIX, save_pairs
from tuning.methods.lora import LayerRecipe, add_layers, peft_targets, preparing
from tuning.methods.sides import refuse_above, refuse_uneven
from tuning.recipe import Method, Occasion, Prepared


@settings(TuningError)
class VeraRecipe(LayerRecipe):
    """Random matrices that all layers share and that never move; two vectors a layer are trained."""

    method: Literal["vera"] = "vera"
    rank: Count = 128
    """The rank of a weight's update."""
    first_scale: Above0 = 0.1
    """What the vector between the two matrices begins with."""
    usual_rate = 1e-2


@settings(TuningError)
class LohaRecipe(LayerRecipe):
    """The elementwise product of two low-rank matrices: of rank squared."""

    method: Literal["loha"] = "loha"
    rank: Annotated[int, Field(ge=1, le=22), NUMBER] = 4
    """The rank of each of the two; what is served has its square."""
    alpha: Count = 8
    """Scales the update, over the rank."""


@settings(TuningError)
class LokrRecipe(LayerRecipe):
    """The Kronecker product of two low-rank matrices."""

    method: Literal["lokr"] = "lokr"
    rank: Annotated[int, Field(ge=1, le=22), NUMBER] = 8
    """The rank of each of the two; what is served has their product. The smaller matrix is trained whole where it has
    not twice as many rows."""
    alpha: Count = 16
    """Scales the update, over the rank."""
    factor: Annotated[int, Field(ge=2), NUMBER] = 16
    """How large the smaller of the two matrices is, at most."""


@settings(TuningError)
class MissRecipe(LayerRecipe):
    """One matrix that every slice of a layer's inputs shares."""

    method: Literal["miss"] = "miss"
    rank: Count = 32
    """The rank of a weight's update: how many slices the inputs are cut into."""


@settings(TuningError)
class GraloraRecipe(LayerRecipe):
    """A LoRA for each block of a weight that is cut into squares."""

    method: Literal["gralora"] = "gralora"
    rank: Count = 16
    """The rank of all blocks of a row together."""
    alpha: Count = 32
    """Scales the update, over the rank."""
    blocks: Count = 2
    """How many squares a row of the weight is cut into; the rank is a multiple of it."""

    def __post_init__(self) -> None:
        LayerRecipe.__post_init__(self)
        if self.rank % self.blocks:
            raise ValueError(f"rank ({self.rank}) must be a multiple of blocks ({self.blocks})")


@settings(TuningError)
class DeloraRecipe(LayerRecipe):
    """LoRA whose directions have the length 1 and whose strength is one number a layer."""

    method: Literal["delora"] = "delora"
    rank: Count = 16
    """The rank of a weight's update."""
    strength: Count = 15
    """What each layer's strength begins with."""


@settings(TuningError)
class TinyLoraRecipe(LayerRecipe):
    """A handful of numbers: how much of each of the weight's own directions is added to it."""

    method: Literal["tinylora"] = "tinylora"
    rank: Count = 2
    """The rank of a weight's update."""
    numbers: Count = 64
    """The numbers that are trained for a group of layers."""
    tied_share: Annotated[float, Field(ge=0, le=1), NUMBER] = 0.0
    """How many layers share their numbers: 0 none, 1 all."""
    usual_rate = 1e-2


@settings(TuningError)
class VbLoraRecipe(LayerRecipe):
    """LoRA whose matrices are mixtures of the vectors of one bank."""

    method: Literal["vblora"] = "vblora"
    rank: Count = 4
    """The rank of a weight's update."""
    vectors: Count = 256
    """How many the bank has."""
    length: Count = 64
    """Of a vector; every layer's inputs and outputs are a multiple of it."""
    mixed: Count = 2
    """How many vectors make a piece of a matrix."""

    usual_rate = 1e-2

    def __post_init__(self) -> None:
        LayerRecipe.__post_init__(self)
        if self.mixed > self.vectors:
            raise ValueError(f"mixed ({self.mixed}) must be at most vectors ({self.vectors})")


@settings(TuningError)
class UniLoraRecipe(LayerRecipe):
    """LoRA whose every number, in all layers, is one of a single vector's."""

    method: Literal["unilora"] = "unilora"
    rank: Count = 4
    """The rank of a weight's update."""
    numbers: Count = 23_040
    """The numbers of the vector, which are all that is trained."""
    first_bound: Above0 = 0.02
    """The vector begins with random numbers from minus this to this."""


@settings(TuningError)
class PsoftRecipe(LayerRecipe):
    """The largest singular directions of each weight are turned among themselves."""

    method: Literal["psoft"] = "psoft"
    rank: Count = 32
    """How many directions, which is the rank of a weight's update; at most the smallest side of any layer."""
    scaled: bool = True
    """Whether each direction is scaled, too, before and after the turn; a turn alone leaves lengths as they were."""


_ADAPTER = "default"
_Make = Callable[[Any, Any], Any]


def _saving(export_rank: Callable[[Any], int]) -> Callable[[Prepared, Any, Path], None]:
    def save(prepared: Prepared, recipe: LayerRecipe, folder: Path) -> None:
        import torch

        tensors, ranks = {}, {}
        for name, part in prepared.model.named_modules():
            if not hasattr(part, "get_base_layer"):
                continue
            with torch.no_grad():
                left, sizes, right = torch.linalg.svd(_delta(part).float(), full_matrices=False)
            rank = min(export_rank(recipe), len(sizes))
            tensors[f"{name}.lora_A.weight"] = right[:rank]
            tensors[f"{name}.lora_B.weight"] = left[:, :rank] * sizes[:rank]
            ranks[name.removeprefix(PREFIX)] = rank
        save_pairs(tensors, ranks, folder)

    return save


def _delta(part: Any) -> Any:
    if hasattr(part, "get_delta_weight_miss"):  # which gives the whole weight
        weight = part.get_base_layer().weight
        # It changes what it is given where the rank does not divide the inputs.
        return part.get_delta_weight_miss(_ADAPTER, weight.clone()) - weight
    return part.get_delta_weight(_ADAPTER)


def _vera(model: Any, recipe: VeraRecipe) -> Any:
    from peft import VeraConfig

    first = recipe.first_scale
    return VeraConfig(r=recipe.rank, d_initial=first, projection_prng_key=recipe.seed, **peft_targets(model, recipe))


def _loha(model: Any, recipe: LohaRecipe) -> Any:
    from peft import LoHaConfig

    return LoHaConfig(r=recipe.rank, alpha=recipe.alpha, **peft_targets(model, recipe))


def _lokr(model: Any, recipe: LokrRecipe) -> Any:
    from peft import LoKrConfig

    return LoKrConfig(
        r=recipe.rank,
        alpha=recipe.alpha,
        decompose_both=True,
        decompose_factor=recipe.factor,
        **peft_targets(model, recipe),
    )


def _miss(model: Any, recipe: MissRecipe) -> Any:
    from peft import MissConfig

    refuse_above(model, recipe, "rank", lambda inputs, _: inputs, "the fewest inputs of the base model's layers")
    return MissConfig(r=recipe.rank, **peft_targets(model, recipe))


def _gralora(model: Any, recipe: GraloraRecipe) -> Any:
    from peft import GraloraConfig

    refuse_uneven(model, recipe, "blocks")
    return GraloraConfig(r=recipe.rank, alpha=recipe.alpha, gralora_k=recipe.blocks, **peft_targets(model, recipe))


def _delora(model: Any, recipe: DeloraRecipe) -> Any:
    from peft import DeloraConfig

    return DeloraConfig(r=recipe.rank, delora_lambda=recipe.strength, **peft_targets(model, recipe))


def _tinylora(model: Any, recipe: TinyLoraRecipe) -> Any:
    from peft import TinyLoraConfig

    return TinyLoraConfig(
        r=recipe.rank,
        u=recipe.numbers,
        weight_tying=recipe.tied_share,
        projection_seed=recipe.seed,
        **peft_targets(model, recipe),
    )


def _vblora(model: Any, recipe: VbLoraRecipe) -> Any:
    from peft import VBLoRAConfig

    refuse_uneven(model, recipe, "length")
    return VBLoRAConfig(
        r=recipe.rank,
        num_vectors=recipe.vectors,
        vector_length=recipe.length,
        topk=recipe.mixed,
        **peft_targets(model, recipe),
    )


def _unilora(model: Any, recipe: UniLoraRecipe) -> Any:
    from peft import UniLoraConfig

    return UniLoraConfig(
        r=recipe.rank,
        theta_d_length=recipe.numbers,
        init_theta_d_bound=recipe.first_bound,
        proj_seed=recipe.seed,
        **peft_targets(model, recipe),
    )


def _psoft(model: Any, recipe: PsoftRecipe) -> Any:
    from peft import PsoftConfig

    refuse_above(model, recipe, "rank", min, "the smallest side of the base model's layers")
    # By alpha / rank it divides what it multiplies by it later.
    return PsoftConfig(
        r=recipe.rank,
        psoft_alpha=recipe.rank,
        psoft_mag_a=recipe.scaled,
        psoft_mag_b=recipe.scaled,
        **peft_targets(model, recipe),
    )


def _own_rank(recipe: Any) -> int:
    return int(recipe.rank)


def _method(
    name: str,
    title: str,
    paper: str,
    recipe: type[LayerRecipe],
    make: _Make,
    export_rank: Callable[[Any], int] = _own_rank,
) -> Method:
    return Method(
        name=name,
        title=title,
        paper=f"arxiv.org/abs/{paper}",
        recipe=recipe,
        prepare=preparing(make),
        export=_saving(export_rank),
        export_rank=export_rank,
    )


def _loha_rank(recipe: LohaRecipe) -> int:
    return recipe.rank**2


def _lokr_rank(recipe: LokrRecipe) -> int:
    # The smaller matrix stays whole where twice the rank does not fit into it.
    return min(2 * recipe.rank, recipe.factor) * recipe.rank


def _add_lokr(model: Any, recipe: LokrRecipe, _occasion: Occasion) -> Prepared:
    made = add_layers(model, _lokr(model, recipe))
    if any("default" in getattr(part, "lokr_w2", {}) for part in made.modules()):
        raise TuningError(f"rank {recipe.rank} is too high for the base model's layers; lower it, or factor")
    return Prepared(model=made)


CONVERTED = (
    _method("vera", "VeRA: shared random matrices, two trained vectors a layer", "2310.11454", VeraRecipe, _vera),
    _method("loha", "LoHa: the product, number by number, of two LoRAs", "2108.06098", LohaRecipe, _loha, _loha_rank),
    Method(
        name="lokr",
        title="LoKr: the Kronecker product of two LoRAs",
        paper="arxiv.org/abs/2309.14859",
        recipe=LokrRecipe,
        prepare=_add_lokr,
        export=_saving(_lokr_rank),
        export_rank=_lokr_rank,
    ),
    _method("miss", "MiSS: one matrix that all slices of the inputs share", "2409.15371", MissRecipe, _miss),
    _method(
        "gralora",
        "GraLoRA: a LoRA for each square of a weight",
        "2505.20355",
        GraloraRecipe,
        _gralora,
        lambda recipe: recipe.rank * recipe.blocks,
    ),
    _method("delora", "DeLoRA: directions and strength apart", "2503.18225", DeloraRecipe, _delora),
    _method("tinylora", "TinyLoRA: a handful of numbers", "2602.04118", TinyLoraRecipe, _tinylora),
    _method("vblora", "VB-LoRA: mixtures of the vectors of one bank", "2405.15179", VbLoraRecipe, _vblora),
    _method(
        "unilora", "Uni-LoRA: one vector whose numbers are those of all LoRAs", "2506.00799", UniLoraRecipe, _unilora
    ),
    _method("psoft", "PSOFT: a weight's largest directions, turned and scaled", "2505.11235", PsoftRecipe, _psoft),
)
