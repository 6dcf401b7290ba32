"""How long answers are, in tokens of the base model, and how many tokens an arm may generate.

lengths = measure(data, count_tokens(base.path))
lengths.max_tokens(config.engine.max_model_len)                    # where the config does not say
cut_notes(with_max_tokens(config, chosen), lengths)                # golds that no arm could give in full
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from arbiter.config import Config
from eval.questions import Question
from router.answering.arm import Sampling
from tuning.data.examples import Example

# Short answers keep this room: a model that says more than it was asked for is wrong, not cut.
FLOOR = 32
# Prompt and passages need the rest of the context.
_LARGEST_SHARE = 4
_PERCENTILE = 95
# An answer in other words than the gold may be longer.
_SLACK = 1.25
_MULTIPLE = 8
# English has four bytes a token, other languages and labels fewer.
_BYTES_PER_TOKEN = 3


@dataclass(frozen=True, slots=True)
class AnswerLengths:
    """Tokens of the training rows' answers, and of each question's shortest gold; estimates unless `is_exact`."""

    trained: tuple[int, ...]
    asked: tuple[int, ...]
    is_exact: bool

    @property
    def _source(self) -> tuple[int, ...]:
        return self.trained or self.asked

    def percentile(self) -> int:
        """What 95% of the training rows' answers do not exceed; of the questions' golds without training rows."""
        ordered = sorted(self._source)
        return ordered[math.ceil(_PERCENTILE / 100 * len(ordered)) - 1] if ordered else 0

    def max_tokens(self, max_model_len: int) -> int:
        """Room for 95% of the answers and a quarter more, at least `FLOOR`, at most a quarter of the context."""
        wanted = math.ceil((_SLACK * self.percentile() + 1) / _MULTIPLE) * _MULTIPLE
        return max(1, min(max(wanted, FLOOR), max_model_len // _LARGEST_SHARE))

    def num_cut(self, max_tokens: int) -> int:
        """Questions that have no gold of so few tokens; the end of an answer is a token, too."""
        return sum(length >= max_tokens for length in self.asked)

    def told(self, max_tokens: int) -> str:
        """One line about the room that was chosen."""
        about = "" if self.is_exact else "about "
        source = "training rows'" if self.trained else "questions'"
        return (
            f"answers may have {max_tokens} tokens (sampling.max_tokens): 95% of the {source} answers have {about}"
            f"{self.percentile()} or fewer"
        )


def measure(
    examples: Sequence[Example], questions: Sequence[Question], count: Callable[[str], int] | None
) -> AnswerLengths:
    """The lengths of the data's answers by a model's own `count`, else estimated."""
    tokens = count or (lambda text: math.ceil(len(text.encode()) / _BYTES_PER_TOKEN))
    return AnswerLengths(
        trained=tuple(tokens(example.answer) for example in examples),
        asked=tuple(min(map(tokens, question.answers)) for question in questions),
        is_exact=count is not None,
    )


def token_counter(model_path: str) -> Callable[[str], int] | None:
    """Counts tokens as the model in this folder does; None for a model that is not on this disk."""
    folder = Path(model_path)
    if not model_path or not folder.is_dir():
        return None
    if (folder / "tokenizer.json").is_file():
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)
    from transformers import AutoTokenizer

    try:
        slow = AutoTokenizer.from_pretrained(folder)
    except (OSError, ValueError):
        return None
    return lambda text: len(slow.encode(text, add_special_tokens=False))


def with_max_tokens(config: Config, max_tokens: int) -> Config:
    """The config with this number of tokens where it does not say."""

    def roomy(sampling: Sampling) -> Sampling:
        return replace(sampling, max_tokens=sampling.max_tokens or max_tokens)

    arms = {
        name: replace(arm, sampling=roomy(arm.sampling)) if arm.sampling is not None else arm
        for name, arm in config.arms.items()
    }
    return config.model_copy(update={"sampling": roomy(config.sampling), "arms": arms})


def cut_notes(config: Config, lengths: AnswerLengths) -> tuple[str, ...]:
    """A note for each `max_tokens` of a config's arms that cuts golds; every one of them must be set."""
    names: dict[int, list[str]] = {}
    for name, arm in config.arms.items():
        room = (arm.sampling or config.sampling).max_tokens
        assert room is not None, "with_max_tokens comes first"
        names.setdefault(room, []).append(name)
    about = "" if lengths.is_exact else "about "
    return tuple(
        f"{lengths.num_cut(room)} of {len(lengths.asked)} questions have no gold answer of fewer than {room} tokens "
        f"({about}{max(lengths.asked)} for the longest), so {', '.join(arms)} cannot give it in full: "
        "raise sampling.max_tokens"
        for room, arms in sorted(names.items())
        if lengths.num_cut(room)
    )
