"""A terminal chat with a running endpoint: `arbiter chat --url http://127.0.0.1:8080/v1`."""

from __future__ import annotations

import os
import sys
from typing import Any

from arbiter.console import Console
from storage.errors import ArbiterError


def talk(url: str, model: str, console: Console) -> None:
    """Read questions from standard input and stream the answers; keeps the whole conversation.

    Raises ArbiterError when nobody answers at `url`; an error about one message is shown and the chat goes on.
    """
    import openai

    client = openai.OpenAI(base_url=url, api_key=os.environ.get("ARBITER_API_KEY", "none"), max_retries=0)
    try:
        names = [entry.id for entry in client.models.list()]
    except openai.OpenAIError as error:
        raise ArbiterError(f"nobody answers at {url!r} ({error}); start it with: arbiter serve CONFIG") from error
    if model not in names:
        raise ArbiterError(f"no model {model!r} at {url}; it serves {', '.join(names)}")
    console.say(f"model {model}; an empty line ends")
    messages: list[Any] = []
    while question := _asked():
        messages.append({"role": "user", "content": question})
        try:
            text, sources = _answer(client, model, messages)
        except openai.OpenAIError as error:
            console.say(f"error: {error}")
            messages.pop()
            continue
        messages.append({"role": "assistant", "content": text})
        if sources:
            console.say(f"  sources: {', '.join(sources)}")


def _asked() -> str:
    if sys.stdin.isatty():
        sys.stderr.write("> ")
        sys.stderr.flush()
    return sys.stdin.readline().strip()


def _answer(client: Any, model: str, messages: list[Any]) -> tuple[str, list[str]]:
    text, sources = "", []
    for chunk in client.chat.completions.create(model=model, messages=messages, stream=True):
        for choice in chunk.choices:
            piece = choice.delta.content or ""
            text += piece
            sys.stdout.write(piece)
            sys.stdout.flush()
            sources += [note["filename"] for note in getattr(choice.delta, "annotations", None) or []]
    sys.stdout.write("\n")
    return text, sources
