"""A prompt of numbers instead of words, which the model reads before every text: prompt tuning (Lester et al. 2021),
and p-tuning (Liu et al. 2021), where a small network makes it while it is trained.

prepend(model, lambda: prompt)      read_prompt(folder) -> (num_tokens, hidden) float32

What is served of both is the prompt itself, in the two files of PEFT's prompt tuning.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from storage.settings import Count, settings
from tuning.base import WEIGHTS
from tuning.errors import TuningError
from tuning.recipe import Method, Occasion, Prepared, Recipe

if TYPE_CHECKING:
    import torch

_NAME = "prompt_embeddings"
_PART = "soft_prompt"


@settings(TuningError)
class PromptRecipe(Recipe):
    """The numbers of a prompt are trained; they begin as those of random words."""

    method: Literal["prompt"] = "prompt"
    num_tokens: Count = 20
    """How many tokens the prompt is as long as."""
    usual_rate = 1e-2


@settings(TuningError)
class PTuningRecipe(Recipe):
    """A small network that makes the numbers of a prompt is trained."""

    method: Literal["p_tuning"] = "p_tuning"
    num_tokens: Count = 20
    """How many tokens the prompt is as long as."""
    hidden: Count = 128
    """The width of the network, which is not served."""


def prepend(model: Any, prompt: Callable[[], torch.Tensor]) -> None:
    """Let the model read `prompt()`, (num_tokens, hidden), before every text, also where it generates; logits are those
    of the text's places.
    """
    import torch

    def put_before(ids: torch.Tensor, mask: torch.Tensor | None) -> dict[str, torch.Tensor | None]:
        words, before = model.get_input_embeddings()(ids), prompt()
        return {
            "inputs_embeds": torch.cat([before.to(words.dtype).expand(len(ids), -1, -1), words], dim=1),
            "attention_mask": None if mask is None else torch.cat([mask.new_ones(len(ids), len(before)), mask], dim=1),
        }

    def read(_model: Any, _args: tuple[Any, ...], given: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        ids, past = given.get("input_ids"), given.get("past_key_values")
        if ids is None or (past is not None and past.get_seq_length()):  # it was read
            return (), given
        changed = {**given, "input_ids": None, **put_before(ids, given.get("attention_mask"))}
        kept, places = given.get("logits_to_keep"), torch.arange(ids.shape[1], device=ids.device)
        changed["logits_to_keep"] = (
            changed["inputs_embeds"].shape[1] - ids.shape[1] + (places if kept is None else kept)
        )
        return (), changed

    generate = model.generate

    def generate_after(*, input_ids: torch.Tensor, attention_mask: torch.Tensor, **rest: Any) -> torch.Tensor:
        return torch.cat([input_ids, generate(**put_before(input_ids, attention_mask), **rest)], dim=1)

    model.register_forward_pre_hook(read, with_kwargs=True)
    model.generate = generate_after


def read_prompt(folder: Path) -> torch.Tensor:
    """The prompt of an adapter's folder, (num_tokens, hidden) float32."""
    from safetensors.torch import load_file

    return load_file(folder / WEIGHTS)[_NAME]


def load_prompt(model: Any, folder: Path) -> Any:
    """The model that reads the prompt of a folder first. Raises TuningError if it does not fit."""
    prompt, hidden = read_prompt(folder).to(model.device), model.config.get_text_config().hidden_size
    if prompt.shape[1] != hidden:
        raise TuningError(
            f"{str(folder)!r} does not fit the base model: its tokens have {prompt.shape[1]} numbers, not {hidden}"
        )
    prepend(model, lambda: prompt)
    return model


def _trained(model: Any, part: Any, prompt: Callable[[], torch.Tensor]) -> Prepared:
    model.requires_grad_(False)
    model.add_module(_PART, part.to(model.device))
    prepend(model, prompt)
    return Prepared(model=model)


def _prepare_prompt(model: Any, recipe: PromptRecipe, _occasion: Occasion) -> Prepared:
    import torch

    words = model.get_input_embeddings().weight.detach()
    chosen = torch.randint(0, len(words), (recipe.num_tokens,))
    part = torch.nn.Embedding(*words[chosen].shape)
    part.weight.data.copy_(words[chosen])
    return _trained(model, part, lambda: part.weight)


def _prepare_p_tuning(model: Any, recipe: PTuningRecipe, _occasion: Occasion) -> Prepared:
    import torch
    from peft import PromptEncoder, PromptEncoderConfig

    config = PromptEncoderConfig(
        task_type="CAUSAL_LM",
        num_virtual_tokens=recipe.num_tokens,
        token_dim=model.config.get_text_config().hidden_size,
        num_transformer_submodules=1,
        encoder_hidden_size=recipe.hidden,
    )
    part = PromptEncoder(config)
    return _trained(model, part, lambda: part(torch.arange(recipe.num_tokens, device=model.device)))


def _save_prompt(prepared: Prepared, _recipe: PromptRecipe, folder: Path) -> None:
    _save(prepared.model.soft_prompt.weight, folder)


def _save_p_tuning(prepared: Prepared, recipe: PTuningRecipe, folder: Path) -> None:
    import torch

    model = prepared.model
    with torch.no_grad():
        _save(model.soft_prompt.float()(torch.arange(recipe.num_tokens, device=model.device)), folder)


def _save(prompt: torch.Tensor, folder: Path) -> None:
    from peft import PromptTuningConfig
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    count, hidden = prompt.shape
    config = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=count, token_dim=hidden, inference_mode=True)
    config.save_pretrained(str(folder))
    save_file({_NAME: prompt.detach().float().contiguous().cpu()}, folder / WEIGHTS, metadata={"format": "pt"})


def _method(
    name: str,
    title: str,
    paper: str,
    recipe: type[Recipe],
    prepare: Callable[[Any, Any, Occasion], Prepared],
    export: Callable[[Prepared, Any, Path], None],
) -> Method:
    return Method(
        name=name,
        title=title,
        paper=f"arxiv.org/abs/{paper}",
        recipe=recipe,
        prepare=prepare,
        export=export,
        form="prompt",
        num_numbers=lambda model, recipe: recipe.num_tokens * model.config.get_text_config().hidden_size,
    )


SOFT_PROMPTS = (
    _method(
        "prompt",
        "Prompt tuning: a prompt of numbers instead of words",
        "2104.08691",
        PromptRecipe,
        _prepare_prompt,
        _save_prompt,
    ),
    _method(
        "p_tuning",
        "P-tuning: a prompt of numbers that a small network makes",
        "2103.10385",
        PTuningRecipe,
        _prepare_p_tuning,
        _save_p_tuning,
    ),
)
