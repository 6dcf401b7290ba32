"""Graders of evals, in OpenAI's terms: a text is compared with a reference, and passes or fails.

grader = read_grader({"type": "string_check", "name": "same", "operation": "eq", "input": "{{sample.output_text}}",
                      "reference": "{{item.answer}}"})
grader.grade({"item": {"answer": "nine"}, "sample": {"output_text": "nine"}})  # Grade("same", passed=True, score=1.0)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from eval.errors import EvalError
from eval.metrics.text import contains, exact_match, rouge, rouge_l, token_f1, words
from eval.scorer import Embed, to_score
from eval.templates import references, render

Measure = Callable[[str, str], float]

_CHECKS: Mapping[str, Callable[[str, str], bool]] = {
    "eq": lambda text, reference: text == reference,
    "ne": lambda text, reference: text != reference,
    "like": lambda text, reference: reference in text,
    "ilike": lambda text, reference: reference.casefold() in text.casefold(),
}


@dataclass(frozen=True, slots=True)
class Grade:
    """What a grader says of one row. `score` is in [0, 1], None with the `error` when it could not be graded."""

    name: str
    kind: str
    passed: bool
    score: float | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Grader:
    """Compares the rendered `input` with the rendered `reference`; passes when `measure` reaches `threshold`."""

    name: str
    kind: str
    input: str
    reference: str
    measure: Measure
    threshold: float

    def grade(self, values: Mapping[str, object]) -> Grade:
        """The grade of one row; `values` maps item and sample to their values. A missing value is unscored, not 0."""
        try:
            score = to_score(self.measure(render(self.input, values), render(self.reference, values)))
        except EvalError as error:
            return Grade(self.name, self.kind, passed=False, score=None, error=str(error))
        if score is None:
            return Grade(
                self.name, self.kind, passed=False, score=None, error="the metric is undefined for these texts"
            )
        return Grade(self.name, self.kind, passed=score >= self.threshold, score=score)


def read_grader(row: Mapping[str, Any], *, embed: Embed | None = None) -> Grader:
    """The grader of a testing criterion. Raises EvalError for one that cannot be honoured.

    `string_check` has the operations eq, ne, like (the input contains the reference) and ilike (in any case).
    `text_similarity` has the metrics of `similarity`, and passes at `pass_threshold`, in [0, 1].
    """
    kind, text, reference = str(row["type"]), str(row["input"]), str(row["reference"])
    for template in (text, reference):
        references(template)
    if kind == "string_check":
        check = _CHECKS[str(row["operation"])]
        return Grader(str(row["name"]), kind, text, reference, lambda a, b: float(check(a, b)), threshold=1.0)
    if kind == "text_similarity":
        measure = similarity(str(row["evaluation_metric"]), embed)
        return Grader(str(row["name"]), kind, text, reference, measure, threshold=float(row["pass_threshold"]))
    raise EvalError(f"no grader of type {kind!r}; use string_check or text_similarity")


def similarity(metric: str, embed: Embed | None = None) -> Measure:
    """A text similarity by its name, from (text, reference) to [0, 1]. Raises EvalError for one that is not available.

    `fuzzy_match` is rapidfuzz's normalised indel similarity. `rouge_1` to `rouge_5` and `rouge_l` are F-measures (Lin
    2004), `bleu` is sentence BLEU-4 smoothed by method 1 (Chen and Cherry 2014), `gleu` Google's BLEU (Wu et al. 2016,
    section 6), all over words in lower case. `cosine` compares embeddings. `exact_match`, `token_f1` and `contains` are
    this program's own names for SQuAD's comparisons; the rest are OpenAI's.
    """
    if metric == "cosine" and embed is not None:
        return lambda text, reference: _cosine(embed, text, reference)
    if metric in _MEASURES:
        return _MEASURES[metric]
    names = ", ".join(similarities(has_embedder=embed is not None))
    raise EvalError(f"no similarity {metric!r} here; choose one of: {names}")


def similarities(*, has_embedder: bool) -> tuple[str, ...]:
    """The names that `similarity` knows."""
    return (*_MEASURES, *(("cosine",) if has_embedder else ()))


def _fuzzy(text: str, reference: str) -> float:
    from rapidfuzz import fuzz

    return fuzz.ratio(text, reference) / 100


def _bleu(text: str, reference: str) -> float:
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    said, wanted = words(text), words(reference)
    # NLTK warns and gives nonsense for texts without a word.
    if not said or not wanted:
        return float(said == wanted)
    return float(sentence_bleu([wanted], said, smoothing_function=SmoothingFunction().method1))


def _gleu(text: str, reference: str) -> float:
    from nltk.translate.gleu_score import sentence_gleu

    said, wanted = words(text), words(reference)
    return float(sentence_gleu([wanted], said)) if said and wanted else float(said == wanted)


def _cosine(embed: Embed, text: str, reference: str) -> float:
    vectors = embed([text, reference])
    return float(vectors[0] @ vectors[1])


_MEASURES: Mapping[str, Measure] = {
    "fuzzy_match": _fuzzy,
    "bleu": _bleu,
    "gleu": _gleu,
    "exact_match": exact_match,
    "token_f1": token_f1,
    "contains": contains,
    **{f"rouge_{n}": partial(rouge, f"rouge{n}") for n in range(1, 6)},
    "rouge_l": rouge_l,
}
