import json
from pathlib import Path

import pytest

from tuning.errors import TuningError
from tuning.methods.lora import LoraRecipe
from tuning.methods.registry import METHODS
from tuning.methods.size import is_known, served_bytes, shapes_of

# Two blocks with q and o (32 x 32), k and v (32 x 16), gate and up (32 x 64) and down (64 x 32): the sides of each.
SIDES = 2 * (2 * 64 + 2 * 48 + 3 * 96)


@pytest.mark.slow
def test_it_is_the_bytes_of_both_matrices_of_every_chosen_layer(tiny_base: Path) -> None:
    base = shapes_of(str(tiny_base))
    assert served_bytes(base, LoraRecipe(rank=4)) == 4 * 4 * SIDES
    assert served_bytes(base, LoraRecipe(rank=4, layers=(1,))) == 4 * 4 * SIDES // 2
    assert served_bytes(base, LoraRecipe(rank=4, target_modules=("q_proj",))) == 4 * 4 * 2 * 64
    assert served_bytes(base, METHODS["pissa"].recipe(rank=4)) == 2 * 4 * 4 * SIDES
    # No matrix has a larger rank than its smaller side.
    assert served_bytes(base, METHODS["vera"].recipe(rank=999, target_modules=("q_proj",))) == 4 * 32 * 2 * 64


@pytest.mark.slow
def test_layers_that_are_no_linear_ones_of_torch_count_too(conv1d_base: Path) -> None:
    # Queries, keys and values (32 x 96), output (32 x 32) and inner layers (32 x 64 and back).
    assert served_bytes(shapes_of(str(conv1d_base)), LoraRecipe(rank=4)) == 4 * 4 * 2 * (128 + 64 + 2 * 96)


@pytest.mark.slow
def test_what_is_merged_is_as_large_as_the_base(tiny_base: Path) -> None:
    from transformers import AutoModelForCausalLM

    weights = AutoModelForCausalLM.from_pretrained(tiny_base).parameters()
    assert served_bytes(shapes_of(str(tiny_base)), METHODS["dora"].recipe()) == 4 * sum(
        part.numel() for part in weights
    )


@pytest.mark.slow
def test_a_folder_without_a_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(TuningError, match="cannot read the base model in"):
        shapes_of(str(tmp_path))


@pytest.mark.parametrize(
    ("said", "is_sure"),
    [
        ({"model_type": "llama", "architectures": ["LlamaForCausalLM"]}, True),
        ({"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]}, True),
        ({"model_type": "wav2vec2-bert", "architectures": ["Wav2Vec2BertForCTC"]}, False),
        ({"model_type": "never_heard_of", "architectures": ["NeverForCausalLM"]}, False),
        ({"model_type": "llama"}, False),
        ([], False),
    ],
)
def test_a_config_says_whether_a_model_can_be_made_or_leaves_it_open(
    said: object, is_sure: bool, tmp_path: Path
) -> None:
    assert not is_known(str(tmp_path))
    (tmp_path / "config.json").write_text(json.dumps(said))
    assert is_known(str(tmp_path)) == is_sure
