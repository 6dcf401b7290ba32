"""Base models of 20 thousand random weights with a word tokenizer: training on one takes a second and no network."""

import shutil
from pathlib import Path

import pytest

WORDS = ("user", "red", "green", "blue", "one", "two", "three", "north", "south", "sea", "is", "what", "colour")
TEMPLATE = (
    "{% for m in messages %}{% if m['role'] not in ['system', 'user', 'assistant'] %}"
    "{{ raise_exception('no role ' + m['role']) }}{% endif %}"
    "{{ '[' ~ m['role'] ~ '] ' ~ m['content'] ~ ' [end] ' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '[assistant] ' }}{% endif %}"
)


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder as `save_pretrained` writes it."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.pre_tokenizers import WhitespaceSplit
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    specials = ["[pad]", "[unk]", "[system]", "[end]", "[user]", "[assistant]"]
    vocabulary = {word: number for number, word in enumerate((*specials, *WORDS))}
    backend = Tokenizer(WordLevel(vocabulary, unk_token="[unk]"))
    backend.pre_tokenizer = WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="[pad]", unk_token="[unk]", eos_token="[end]", chat_template=TEMPLATE
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(vocabulary),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            pad_token_id=0,
            eos_token_id=3,
            bos_token_id=3,
            initializer_range=0.3,
            tie_word_embeddings=True,
        )
    )
    folder = tmp_path_factory.mktemp("base") / "tiny"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def conv1d_base(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a GPT-2, whose linear layers are no `torch.nn.Linear`."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("conv1d") / "tiny"
    folder.mkdir()
    for path in tiny_base.glob("*token*"):
        shutil.copy(path, folder)
    for path in tiny_base.glob("*.jinja"):
        shutil.copy(path, folder)
    torch.manual_seed(0)
    ids = {"pad_token_id": 0, "eos_token_id": 3, "bos_token_id": 3}
    size = {"n_positions": 64, "n_embd": 32, "n_inner": 64, "n_layer": 2, "n_head": 4}
    GPT2LMHeadModel(GPT2Config(vocab_size=19, initializer_range=0.3, **size, **ids)).save_pretrained(folder)
    return folder
