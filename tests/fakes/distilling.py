"""A larger model to learn from, computed from a tiny one: in this process, or on a socket as vLLM serves it.

teacher = TinyTeacher(tiny_base)
teacher.as_told()                              what a training asks
with serving(teacher) as server: server.url, server.bodies
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fakes.engines import completion
from fakes.json_server import serving_json

from tuning.recipe import Teacher


class TinyTeacher:
    """A model of the same shape and tokens as the one in a folder, with other weights."""

    def __init__(self, folder: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        generator = torch.Generator().manual_seed(7)
        with torch.no_grad():
            for weights in self.model.parameters():
                weights.add_(0.1 * torch.randn(weights.shape, generator=generator))

    def log_probs(self, ids: Sequence[int]) -> Any:
        """(tokens, vocabulary): row i is of the token after the first i + 1."""
        import torch

        with torch.no_grad():
            return self.model(torch.tensor([list(ids)])).logits[0].log_softmax(-1)

    def read(
        self, texts: Sequence[Sequence[int]], starts: Sequence[int], top: int
    ) -> list[list[list[tuple[int, float]]]]:
        """As `tuning.recipe.Teacher` has it."""
        return [
            [
                self._told(row, token, top)
                for row, token in list(zip(self.log_probs(ids), ids[1:], strict=False))[s - 1 :]
            ]
            for ids, s in zip(texts, starts, strict=True)
        ]

    def _told(self, row: Any, token: int, top: int) -> list[tuple[int, float]]:
        likeliest = row.topk(min(top, len(row))).indices.tolist() if top else []
        return [(one, float(row[one])) for one in dict.fromkeys([token, *likeliest])]

    def spell(self, text: str) -> list[tuple[int, str]]:
        """As `tuning.recipe.Teacher` has it."""
        return [(one, self.tokenizer.decode([one])) for one in self.tokenizer(text)["input_ids"]][1:]

    def as_told(self, name: str = "tiny teacher") -> Teacher:
        """What a training asks."""
        return Teacher(name, self.spell, self.read)

    def answer(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """Three greedy words."""
        import torch

        ids = self.tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, return_dict=True)
        made = list(ids["input_ids"])
        prompt = len(made)
        for _ in range(3):
            row = self.log_probs(made)[-1].clone()
            row[:6] = -torch.inf  # words alone
            made.append(int(row.argmax()))
        return str(self.tokenizer.decode(made[prompt:]))


@dataclass
class FakeServer:
    """`status(number)` gives an HTTP error in place of the answer to a request; `spoil(path, body)` changes one."""

    teacher: TinyTeacher
    url: str = ""
    status: Callable[[int], int] = lambda number: 200
    spoil: Callable[[str, dict[str, Any]], Any] = lambda path, body: body
    bodies: list[Mapping[str, Any]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def respond(self, path: str, asked: Any) -> tuple[int, object]:
        """Status and body of the response to one request."""
        with self._lock:  # torch's generator and the list are one for all threads
            self.bodies.append(asked)
            status = self.status(len(self.bodies))
            if status != 200:
                return status, {"error": {"message": "scripted", "type": "t", "code": None, "param": None}}
            if path == "/chat/completions":
                return 200, self.spoil(path, completion(self.teacher.answer(asked["messages"])).model_dump(mode="json"))
            prompt, top = asked["prompt"], asked["prompt_logprobs"]
            tokenizer = self.teacher.tokenizer
            ids = tokenizer(prompt, add_special_tokens=False)["input_ids"] if isinstance(prompt, str) else prompt
            (reading,) = self.teacher.read([ids], [1], top)
            told = [
                {
                    str(one): {"logprob": number, "rank": rank, "decoded_token": tokenizer.decode([one])}
                    for rank, (one, number) in enumerate(place, 1)
                }
                for place in reading
            ]
            choice = {"index": 0, "text": "x", "finish_reason": "length", "prompt_logprobs": [None, *told]}
            body = {"id": "c", "object": "text_completion", "created": 0, "model": asked["model"], "choices": [choice]}
            return 200, self.spoil(path, body)


@contextmanager
def serving(teacher: TinyTeacher, **script: Any) -> Iterator[FakeServer]:
    """The teacher behind a URL, stopped at the end."""
    server = FakeServer(teacher, **script)
    with serving_json(server.respond) as server.url:
        yield server
