"""The families of chat templates that models have, each told by pieces or refused."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import jinja2
import pytest

from tuning.errors import TuningError
from tuning.exchange.modelfile import Message, Render, find_pieces, modelfile, renderer, stops

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
SMOLLM2 = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are SmolLM.<|im_end|>\n' }}{% endif %}"
    + CHATML
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' }}"
    "{{ m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('no system') }}{% endif %}"
    "{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else 'user') + '\n' + m['content'] + "
    "'<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] + eos_token }}"
    "{% else %}{{ raise_exception('only user and assistant') }}{% endif %}{% endfor %}"
)
# The first answer is shown otherwise than later ones.
NUMBERED = "{% for m in messages %}{{ loop.index ~ ') ' ~ m['role'] ~ ': ' ~ m['content'] ~ '\n' }}{% endfor %}"
# The system message goes into the question.
INSIDE = (
    "{% set ns = namespace(s='') %}{% for m in messages %}{% if m['role'] == 'system' %}{% set ns.s = m['content'] %}"
    "{% else %}{{ '[' + m['role'] + '] ' }}{% if m['role'] == 'user' %}{{ ns.s }}{% endif %}"
    "{{ m['content'] + '\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '[assistant] ' }}{% endif %}"
)


def render_of(template: str, bos: str = "") -> Render:
    def refuse(text: str) -> None:
        raise ValueError(text)

    made = jinja2.Environment(trim_blocks=True, lstrip_blocks=True).from_string(template)
    shared: dict[str, Any] = {"bos_token": bos, "eos_token": "</s>", "raise_exception": refuse}
    return lambda messages, opens: made.render(messages=messages, add_generation_prompt=opens, **shared)


def go(text: str, messages: Sequence[Message], system: str | None) -> str:
    """What Ollama makes of a TEMPLATE of the shape that we write: text/template for one range over messages."""
    if system is not None and messages[0]["role"] != "system":
        messages = [{"role": "system", "content": system}, *messages]
    head, rest = text.split("{{ range .Messages }}{{ if ")
    body, opening = rest.split("{{ end }}{{ end }}")
    around = {}
    for branch in body.split("{{ else if "):
        role, told = branch.removeprefix("eq .Role ").split(" }}", 1)
        around[role.strip('"')] = told
    return head + "".join(around.get(m["role"], "").replace("{{ .Content }}", m["content"]) for m in messages) + opening


def field(text: str, name: str) -> str | None:
    start = f'{name} """'
    return text.split(start)[1].split('"""')[0] if start in text else None


CONVERSATION: list[Message] = [
    {"role": "user", "content": "What is red?"},
    {"role": "assistant", "content": "A colour."},
    {"role": "user", "content": "And north?"},
]
SYSTEM: Message = {"role": "system", "content": "Be brief."}


@pytest.mark.parametrize("template", [CHATML, SMOLLM2, LLAMA3])
@pytest.mark.parametrize("conversation", [CONVERSATION[:1], CONVERSATION, [SYSTEM, *CONVERSATION]])
def test_ollama_is_told_to_write_what_the_chat_template_writes(template: str, conversation: list[Message]) -> None:
    render = render_of(template)
    text = modelfile("./x.gguf", find_pieces(render), (), system=None)
    written = field(text, "TEMPLATE")
    assert written is not None
    assert go(written, conversation, field(text, "SYSTEM")) == render(conversation, True)


def test_a_system_message_that_the_template_puts_in_is_in_the_modelfile() -> None:
    pieces = find_pieces(render_of(SMOLLM2))
    assert field(modelfile(".", pieces, (), system=None), "SYSTEM") == "You are SmolLM."
    assert field(modelfile(".", pieces, (), system="Be kind."), "SYSTEM") == "Be kind."
    assert field(modelfile(".", find_pieces(render_of(CHATML)), (), system=None), "SYSTEM") is None


@pytest.mark.parametrize("template", [GEMMA, MISTRAL, INSIDE])
def test_a_template_without_system_messages_is_told_and_none_is_taken(template: str) -> None:
    render = render_of(template)
    pieces = find_pieces(render)
    assert pieces.system is None
    written = field(modelfile(".", pieces, (), system=None), "TEMPLATE")
    assert written is not None
    assert go(written, CONVERSATION, None) == render(CONVERSATION, True)
    with pytest.raises(TuningError, match="takes no system message; leave --system out"):
        modelfile(".", pieces, (), system="Be brief.")


@pytest.mark.parametrize("template", [NUMBERED, CHATML.replace("im_end|>", "im_end|>{% raw %}{{{% endraw %}")])
def test_what_no_modelfile_says_is_refused(template: str) -> None:
    with pytest.raises(TuningError, match="no Modelfile is made of it; take --as gguf"):
        find_pieces(render_of(template))


def test_a_modelfile_in_full() -> None:
    pieces = find_pieces(render_of(CHATML))
    assert modelfile("./x.gguf", pieces, ("<|im_end|>",), system="Be brief.") == (
        "FROM ./x.gguf\n"
        'TEMPLATE """{{ range .Messages }}{{ if eq .Role "system" }}<|im_start|>system\n{{ .Content }}<|im_end|>\n'
        '{{ else if eq .Role "user" }}<|im_start|>user\n{{ .Content }}<|im_end|>\n'
        '{{ else if eq .Role "assistant" }}<|im_start|>assistant\n{{ .Content }}<|im_end|>\n'
        '{{ end }}{{ end }}<|im_start|>assistant\n"""\n'
        'PARAMETER stop "<|im_end|>"\n'
        "PARAMETER temperature 0\n"
        'SYSTEM """Be brief."""\n'
    )
    with pytest.raises(TuningError, match="write it with other quotes"):
        modelfile(".", pieces, (), system='Say """.')


class Tokenizer(SimpleNamespace):
    """One that puts a first token before a text, or does not."""

    def __call__(self, _text: str) -> dict[str, list[int]]:
        return {"input_ids": [1, 7] if self.puts else [7]}

    def apply_chat_template(self, messages: Any, *, tokenize: bool, add_generation_prompt: bool) -> str:
        assert not tokenize
        return render_of(LLAMA3, "<s>")(messages, add_generation_prompt)


@pytest.mark.parametrize(("puts", "head"), [(True, ""), (False, "<s>")])
def test_the_first_token_is_left_to_who_puts_it_there(puts: bool, head: str) -> None:
    tokenizer = Tokenizer(puts=puts, bos_token="<s>", bos_token_id=1, eos_token="</s>")
    pieces = find_pieces(renderer(tokenizer))
    assert pieces.head == head
    assert pieces.system is not None
    assert stops(tokenizer, pieces) == ("</s>", "<|eot_id|>")
