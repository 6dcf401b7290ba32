"""Tokens of the tiny base, against the library's own generation, alone and in each other's company."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.beside.generation import Ask, Asked, Generator, Token

# It imports torch.
pytestmark = pytest.mark.slow

PROMPTS = [(4, 11, 6), (4, 12, 7, 8, 3, 5), (7,), (9, 9, 8, 8, 7, 7, 6, 6, 5)]


@pytest.fixture(scope="module")
def model(tiny_base: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(tiny_base).eval()


def generator_of(model: Any, *, max_rows: int = 8, eos_ids: tuple[int, ...] = ()) -> Generator:
    from transformers import DynamicCache

    return Generator(model, DynamicCache, eos_ids, max_rows)


def told(generator: Generator, *asks: Ask) -> list[list[Token]]:
    """Every request's tokens; all are asked at once."""
    waiting = [(queue.SimpleQueue[Token | Exception](), ask) for ask in asks]
    for own, ask in waiting:
        generator.submit(ask, own.put)
    return [list(until_last(own)) for own, _ in waiting]


def until_last(own: queue.SimpleQueue[Token | Exception]) -> Iterator[Token]:
    while True:
        token = own.get(timeout=60)
        if isinstance(token, Exception):
            raise token
        yield token
        if token.finish is not None:
            return


def expected(model: Any, prompt: tuple[int, ...], count: int) -> list[int]:
    import torch

    ids = torch.tensor([prompt])
    found = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, do_sample=False, eos_token_id=-1
    )
    return list(map(int, found[0, len(prompt) :]))


@pytest.mark.parametrize("max_rows", [1, 2, 8])
def test_rows_of_a_batch_do_not_change_each_other(max_rows: int, model: Any) -> None:
    generator = generator_of(model, max_rows=max_rows)
    counts = [9, 3, 14, 6]
    asks = [Ask(prompt, count, temperature=0) for prompt, count in zip(PROMPTS, counts, strict=True)]
    found = told(generator, *asks)
    for tokens, ask in zip(found, asks, strict=True):
        assert [token.id for token in tokens] == expected(model, ask.prompt, ask.max_tokens)
        assert tokens[-1].finish == "length"


def test_log_probabilities_are_those_of_the_model(model: Any) -> None:
    import torch

    (tokens,) = told(generator_of(model), Ask(PROMPTS[1], 4, temperature=0, frequency_penalty=1.0, num_best=2))
    ids = [*PROMPTS[1], *(token.id for token in tokens)]
    with torch.no_grad():
        logprobs = model(torch.tensor([ids])).logits[0].log_softmax(-1)[len(PROMPTS[1]) - 1 : -1]
    assert [token.logprob for token in tokens] == pytest.approx(
        [float(row[token.id]) for row, token in zip(logprobs, tokens, strict=True)], abs=1e-5
    )
    assert [best for best, _ in tokens[0].best] == logprobs[0].topk(2).indices.tolist()


def test_a_seed_repeats_a_draw_and_another_one_does_not(model: Any) -> None:
    first, again, other = (
        [token.id for token in told(generator_of(model), Ask(PROMPTS[0], 24, seed=seed))[0]] for seed in (1, 1, 2)
    )
    assert first == again != other


def test_top_p_and_top_k_leave_the_likeliest_alone(model: Any) -> None:
    greedy, narrow, one = (
        [token.id for token in told(generator_of(model), ask)[0]]
        for ask in (
            Ask(PROMPTS[0], 8, temperature=0),
            Ask(PROMPTS[0], 8, top_p=1e-6),
            Ask(PROMPTS[0], 8, top_k=1),
        )
    )
    assert greedy == narrow == one


def test_penalties_take_a_repeated_token_away(model: Any) -> None:
    plain = told(generator_of(model), Ask(PROMPTS[0], 24, temperature=0))[0]
    varied = told(
        generator_of(model), Ask(PROMPTS[0], 24, temperature=0, presence_penalty=2.0, repetition_penalty=2.0)
    )[0]
    assert len({token.id for token in varied}) > len({token.id for token in plain})


def test_the_end_of_a_text_ends_it(model: Any) -> None:
    ids = expected(model, PROMPTS[2], 8)
    (tokens,) = told(generator_of(model, eos_ids=(ids[3],)), Ask(PROMPTS[2], 8, temperature=0))
    assert [token.id for token in tokens] == ids[: ids.index(ids[3]) + 1]
    assert tokens[-1].finish == "stop"


def test_a_cancelled_row_leaves_the_batch(model: Any) -> None:
    generator = generator_of(model)
    asked: list[Asked] = []
    seen: queue.SimpleQueue[Token | Exception] = queue.SimpleQueue()

    def once(token: Token | Exception) -> None:
        seen.put(token)
        if seen.qsize() == 3:
            asked[0].cancel()

    asked.append(generator.submit(Ask(PROMPTS[0], 10_000, temperature=0), once))
    (tokens,) = told(generator, Ask(PROMPTS[1], 30, temperature=0))
    assert len(tokens) == 30
    assert 3 <= seen.qsize() <= 4


def test_a_failure_is_told_and_the_next_request_is_answered(model: Any) -> None:
    generator = generator_of(model)
    with pytest.raises(IndexError):
        told(generator, Ask((10_000,), 4))
    (tokens,) = told(generator, Ask(PROMPTS[0], 4, temperature=0))
    assert len(tokens) == 4


def test_a_row_whose_draw_fails_takes_no_other_down(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = generator_of(model)
    fails_at, original = 3, Asked.draw

    def draw(self: Asked, logits: Any, eos_ids: Any) -> Token:
        if self.ask.seed == 666 and len(self.generated) == fails_at:
            raise RuntimeError("no such draw")
        return original(self, logits, eos_ids)

    monkeypatch.setattr(Asked, "draw", draw)
    victim, attacker = (queue.SimpleQueue[Token | Exception]() for _ in range(2))
    generator.submit(Ask(PROMPTS[0], 12, temperature=0), victim.put)
    generator.submit(Ask(PROMPTS[1], 12, temperature=0, seed=666), attacker.put)
    assert [token.id for token in until_last(victim)] == expected(model, PROMPTS[0], 12)
    with pytest.raises(RuntimeError, match="no such draw"):
        list(until_last(attacker))
    assert not generator.is_broken


def test_the_smallest_temperature_still_draws(model: Any) -> None:
    generator = generator_of(model)
    (tokens,) = told(generator, Ask(PROMPTS[0], 12, temperature=1.12e-38, seed=1))
    assert [token.id for token in tokens] == expected(model, PROMPTS[0], 12)


def test_an_engine_whose_steps_all_fail_is_broken_and_one_that_recovers_is_not(
    model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = generator_of(model)
    with monkeypatch.context() as patch:
        patch.setattr(generator, "model", None)
        for _ in range(3):
            with pytest.raises((TypeError, AttributeError)):
                told(generator, Ask(PROMPTS[0], 4, temperature=0))
        assert generator.is_broken
    told(generator, Ask(PROMPTS[0], 4, temperature=0))
    assert not generator.is_broken
