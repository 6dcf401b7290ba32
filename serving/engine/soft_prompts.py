"""Prompts of numbers, sent to vLLM with a conversation: `first_message(adapter)` goes before all others.

vLLM 0.32 with --enable-prompt-embeds takes a tensor as a part of a message, and puts its rows where the chat template
puts that message's text (vllm/renderers/hf.py). They were trained before everything else, so the engine is started with
the base model's template, and at its beginning a place for the message of a role that clients cannot name: the gateway
lets none through, nor any part of a message that is no text.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping

from tuning.export.adapters import Adapter
from tuning.methods.soft_prompt import read_prompt

ROLE = "soft_prompt"
# Wherever vLLM has moved the message to; by `content` as text or as parts, as the rest of the template takes it. The
# empty text at the end keeps Jinja from taking a line break that the template begins with.
_PLACE = (
    f"{{%- set soft = messages | selectattr('role', 'equalto', '{ROLE}') | list -%}}"
    "{%- if soft -%}"
    "{{- soft[0]['content'] if soft[0]['content'] is string else soft[0]['content'][0]['text'] -}}"
    f"{{%- set messages = messages | rejectattr('role', 'equalto', '{ROLE}') | list -%}}"
    "{%- endif -%}"
    "{{ '' }}"
)


def with_place(template: str) -> str:
    """A chat template that renders a first message of numbers, and every other conversation as before."""
    return _PLACE + template


def first_message(adapter: Adapter) -> Mapping[str, object]:
    """The message that holds an adapter's prompt, in float32: vLLM turns it into the precision that it computes in."""
    import torch

    buffer = io.BytesIO()
    torch.save(read_prompt(adapter.path).clone(), buffer)
    data = base64.b64encode(buffer.getvalue()).decode()
    return {"role": ROLE, "content": [{"type": "prompt_embeds", "data": data}]}
