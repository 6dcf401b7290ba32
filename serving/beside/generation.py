"""Tokens of a transformers model, for many requests at once: one thread computes a token for each of them a step.

generator = Generator(model, first_cache=DynamicCache, eos_ids={2}, max_rows=16)
asked = generator.submit(Ask(prompt=(5, 9), max_tokens=8), on_token)      asked.cancel()

A prompt is read alone and then joins the batch: caches are padded on the left, and every row counts its own places, so
that a row's tokens do not depend on the others.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import torch

Finish = Literal["stop", "length"]

_log = logging.getLogger("arbiter.engine")

_LEAST_TEMPERATURE = 0.01
# So many steps that fail one after the other are no fault of what was asked.
_BROKEN_AFTER = 3


@dataclass(frozen=True, slots=True)
class Ask:
    """A prompt's token ids and how the next ones are drawn, in OpenAI's words; `temperature` 0 takes the likeliest.

    `num_best` is how many other tokens are told with each one; `top_k` 0 is no limit.
    """

    prompt: tuple[int, ...]
    max_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    seed: int | None = None
    num_best: int = 0


@dataclass(frozen=True, slots=True)
class Token:
    """A generated token: its id, its log-probability before penalties and temperature, the likeliest ones likewise, and
    why it is the last one, where it is.
    """

    id: int
    logprob: float
    best: tuple[tuple[int, float], ...]
    finish: Finish | None


OnToken = Callable[[Token | Exception], None]


class Asked:
    """A request on its way. `on_token` is called from the computing thread, with an exception where that failed; it
    raises none itself.
    """

    def __init__(self, ask: Ask, on_token: OnToken) -> None:
        import torch

        self.ask, self.on_token = ask, on_token
        self.generated: list[int] = []
        self.is_cancelled = False
        self._random = torch.Generator()
        if ask.seed is None:
            self._random.seed()
        else:
            self._random.manual_seed(ask.seed)
        self._warpers = _warpers(ask)

    def cancel(self) -> None:
        """Nobody waits for more."""
        self.is_cancelled = True

    def draw(self, logits: torch.Tensor, eos_ids: Collection[int]) -> Token:
        """The next token by the logits (vocabulary,) of its place."""
        import torch

        ask, logits = self.ask, logits.float().cpu()
        logprobs = logits.log_softmax(-1)
        scores = self._warpers(torch.tensor([[*ask.prompt, *self.generated]]), logits[None])[0]
        if ask.temperature == 0:
            drawn = int(scores.argmax())
        else:
            drawn = int(torch.multinomial(scores.softmax(-1), 1, generator=self._random))
        self.generated.append(drawn)
        values, ids = logprobs.topk(ask.num_best)
        is_full = len(self.generated) >= ask.max_tokens
        return Token(
            id=drawn,
            logprob=float(logprobs[drawn]),
            best=tuple(zip(ids.tolist(), values.tolist(), strict=True)),
            finish="stop" if drawn in eos_ids else "length" if is_full else None,
        )


def _warpers(ask: Ask) -> Any:
    """What is done to logits before a draw, in vLLM's order."""
    import torch
    from transformers import (
        LogitsProcessorList,
        RepetitionPenaltyLogitsProcessor,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    def repeated_less(ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        counts = torch.bincount(ids[0, len(ask.prompt) :], minlength=scores.shape[-1])
        return scores - ask.frequency_penalty * counts - ask.presence_penalty * (counts > 0)

    chosen = LogitsProcessorList()
    if ask.repetition_penalty != 1:
        chosen.append(RepetitionPenaltyLogitsProcessor(ask.repetition_penalty))
    if ask.frequency_penalty or ask.presence_penalty:
        chosen.append(repeated_less)
    if ask.temperature not in (0, 1):
        # As vLLM does: what is divided by less would be infinite.
        chosen.append(TemperatureLogitsWarper(max(ask.temperature, _LEAST_TEMPERATURE)))
    if ask.top_k:
        chosen.append(TopKLogitsWarper(ask.top_k))
    if ask.top_p < 1:
        chosen.append(TopPLogitsWarper(ask.top_p))
    return chosen


@dataclass(eq=False)
class Generator:
    """`first_cache()` gives the cache that a text of one row begins with. Between two steps the rows of the cache are
    those of `_rows`, each as long as what was read of it, padded on the left to the longest.
    """

    model: Any
    first_cache: Callable[[], Any]
    eos_ids: Collection[int]
    max_rows: int
    _waiting: queue.SimpleQueue[Asked] = field(default_factory=queue.SimpleQueue, init=False)
    _rows: list[Asked] = field(default_factory=list, init=False)
    _lengths: list[int] = field(default_factory=list, init=False)
    _cache: Any = field(default=None, init=False)
    _num_failures: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        threading.Thread(target=self._work, name="generation", daemon=True).start()

    @property
    def is_broken(self) -> bool:
        """Whether steps fail whatever is asked, so that only a new process helps."""
        return self._num_failures >= _BROKEN_AFTER

    def submit(self, ask: Ask, on_token: OnToken) -> Asked:
        """Begin, as soon as there is room."""
        asked = Asked(ask, on_token)
        self._waiting.put(asked)
        return asked

    def _work(self) -> None:
        import torch

        with torch.inference_mode():
            while True:
                # Without rows there is nothing to do but wait.
                new = [self._waiting.get()] if not self._rows else []
                while len(self._rows) + len(new) < self.max_rows and not self._waiting.empty():
                    new.append(self._waiting.get())
                for asked in new:
                    try:
                        self._begin(asked)
                    except Exception as error:
                        self._num_failures += 1
                        _fail([asked], error)
                try:
                    self._step()
                except Exception as error:
                    self._num_failures += 1
                    failed, self._rows, self._lengths, self._cache = self._rows, [], [], None
                    _fail(failed, error)

    def _begin(self, asked: Asked) -> None:
        import torch

        if asked.is_cancelled:
            return
        cache, ids = self.first_cache(), torch.tensor([asked.ask.prompt], device=self.model.device)
        logits = self.model(input_ids=ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
        if not self._say(asked, logits[0, -1]):
            return
        self._rows.append(asked)
        self._lengths.append(cache.get_seq_length())
        self._cache = cache if self._cache is None else _joined(self._cache, cache)

    def _step(self) -> None:
        """One more token for every row; those that have ended leave."""
        import torch

        self._keep([place for place, row in enumerate(self._rows) if not row.is_cancelled])
        if not self._rows:
            return
        device = self.model.device
        lengths = torch.tensor(self._lengths, device=device)
        width = self._cache.get_seq_length() + 1
        logits = self.model(
            input_ids=torch.tensor([[row.generated[-1]] for row in self._rows], device=device),
            attention_mask=(torch.arange(width, device=device) >= width - 1 - lengths[:, None]).long(),
            position_ids=lengths[:, None],
            past_key_values=self._cache,
            use_cache=True,
        ).logits
        self._num_failures = 0
        self._lengths = [length + 1 for length in self._lengths]
        self._keep([place for place, row in enumerate(self._rows) if self._say(row, logits[place, -1])])

    def _say(self, asked: Asked, logits: torch.Tensor) -> bool:
        """Draw and tell a row's next token; whether others follow."""
        try:
            token = asked.draw(logits, self.eos_ids)
        except Exception as error:  # a row's own fault: the others go on
            _fail([asked], error)
            return False
        asked.on_token(token)
        return token.finish is None

    def _keep(self, places: Sequence[int]) -> None:
        import torch

        if len(places) == len(self._rows):
            return
        self._rows, self._lengths = [self._rows[i] for i in places], [self._lengths[i] for i in places]
        if not places:
            self._cache = None
            return
        longest = max(self._lengths)
        self._cache.batch_select_indices(torch.tensor(places, device=self.model.device))
        for layer in self._cache.layers:
            layer.keys, layer.values = layer.keys[..., -longest:, :], layer.values[..., -longest:, :]


def _fail(rows: Sequence[Asked], error: Exception) -> None:
    _log.error("generation failed", exc_info=error)
    for asked in rows:
        asked.on_token(error)


def _joined(first: Any, second: Any) -> Any:
    """The rows of both caches in the first one, padded on the left to the longer."""
    import torch

    width = max(first.get_seq_length(), second.get_seq_length())

    def padded(states: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(states, (0, 0, width - states.shape[-2], 0))

    for one, other in zip(first.layers, second.layers, strict=True):
        one.keys = torch.cat([padded(one.keys), padded(other.keys)])
        one.values = torch.cat([padded(one.values), padded(other.values)])
    return first
