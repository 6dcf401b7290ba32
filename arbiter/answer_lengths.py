"""How long answers are, in tokens of the base model, and how many tokens an arm may generate.

lengths = measure(data.examples, data.questions, token_counter(base.path))
lengths.chosen(config), lengths.notes(config)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from arbiter.config.schema import Config
from eval.questions import Question

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

    def percentile(self) -> int:
        """What 95% of the training rows' answers do not exceed; of the questions' golds without training rows."""
        ordered = sorted(self.trained or self.asked)
        return ordered[math.ceil(_PERCENTILE / 100 * len(ordered)) - 1] if ordered else 0

    def max_tokens(self, max_model_len: int) -> int:
        """Room for 95% of the answers and a quarter more, at least `FLOOR`, at most a quarter of the context."""
        wanted = math.ceil((_SLACK * self.percentile() + 1) / _MULTIPLE) * _MULTIPLE
        return max(1, min(max(wanted, FLOOR), max_model_len // _LARGEST_SHARE))

    def chosen(self, config: Config) -> int:
        """The tokens that an answer may have: what the config says, else `max_tokens` of its context."""
        return config.sampling.max_tokens or self.max_tokens(config.engine.max_model_len)

    def notes(self, config: Config) -> list[str]:
        """A line about the room that was chosen, then one for each room of some arms that cuts golds."""
        chosen, about = self.chosen(config), "" if self.is_exact else "about "
        source = "training rows'" if self.trained else "questions'"
        notes = [
            f"answers may have {chosen} tokens (sampling.max_tokens): 95% of the {source} answers have {about}"
            f"{self.percentile()} or fewer"
        ]
        names: dict[int, list[str]] = {}
        for name, arm in config.arms.items():
            room = arm.sampling.max_tokens if arm.sampling is not None else None
            names.setdefault(room or chosen, []).append(name)
        for room, arms in sorted(names.items()):
            # The end of an answer is a token, too.
            if num_cut := sum(length >= room for length in self.asked):
                notes.append(
                    f"{num_cut} of {len(self.asked)} questions have no gold answer of fewer than {room} tokens "
                    f"({about}{max(self.asked)} for the longest), so {', '.join(arms)} cannot give it in full: "
                    "raise sampling.max_tokens"
                )
        return notes


def measure(
    examples: Sequence[Question], questions: Sequence[Question], count: Callable[[str], int] | None
) -> AnswerLengths:
    """The lengths of the data's answers by a model's own `count`, else estimated."""
    tokens = count or (lambda text: math.ceil(len(text.encode()) / _BYTES_PER_TOKEN))
    return AnswerLengths(
        trained=tuple(tokens(example.answer) for example in examples),
        asked=tuple(min(map(tokens, question.answers)) for question in questions),
        is_exact=count is not None,
    )


def token_counter(model_path: str) -> Callable[[str], int] | None:
    """Counts tokens as the tokenizer.json in this folder does; None where there is none, or no model on this disk."""
    file = Path(model_path) / "tokenizer.json"
    if not model_path or not file.is_file():
        return None
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(file))
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)
