"""Graders of evals, in OpenAI's terms: a text is compared with a reference, and passes or fails. Both are templates:
text with `{{item.question}}` or `{{sample.output_text}}` in it, and nothing that is executed.

render("Q: {{item.question}}", {"item": {"question": "When?"}})  # "Q: When?"
same = StringCheck(type="string_check", name="same", operation="eq", input="{{sample.output_text}}",
                   reference="{{item.answer}}")
grade(same, {"item": {"answer": "nine"}, "sample": {"output_text": "nine"}})  # Grade("same", passed=True, score=1.0)
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from operator import matmul
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from eval.errors import EvalError
from eval.metrics.text import METRICS, rouge, rouge_l, words
from eval.scorer import Embed, to_score

Measure = Callable[[str, str], float]

_PLACE = re.compile(r"\{\{\s*(.*?)\s*\}\}", re.DOTALL)
_PATH = re.compile(r"(?:item|sample)(?:\.[\w-]+|\[\d+\])+")
_PART = re.compile(r"[\w-]+")

# What a measure that compares every piece of one text with every piece of the other may be given: the lengths in
# characters, multiplied. So many take about a tenth of a second, in which the server does nothing else.
_MAX_PAIRS = 50_000**2

_CHECKS: Mapping[str, Measure] = {
    "eq": lambda text, reference: text == reference,
    "ne": lambda text, reference: text != reference,
    "like": lambda text, reference: reference in text,
    "ilike": lambda text, reference: reference.casefold() in text.casefold(),
}


class TemplateError(EvalError, ValueError):
    """The template itself is not possible, whatever the values."""


def references(template: str) -> tuple[str, ...]:
    """The paths a template names, such as `item.question`, in order. Raises TemplateError for anything else in it.

    A path starts with item or sample and goes on with names and list positions: `item.options[0]`, `item.options.0`.
    """
    paths = _PLACE.findall(template)
    for path in paths:
        if not _PATH.fullmatch(path):
            raise TemplateError(f"'{{{{{path}}}}}' is no reference; write {{{{item.NAME}}}} or {{{{sample.NAME}}}}")
    rest = _PLACE.sub("", template)
    if "{{" in rest or "{%" in rest:
        raise TemplateError(f"{template[:80]!r} holds a brace that is not closed, or a statement; only references work")
    return tuple(paths)


def _checked(template: str) -> str:
    references(template)
    return template


Template = Annotated[str, AfterValidator(_checked)]


class _Comparison(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    type: str
    name: Annotated[str, StringConstraints(min_length=1, max_length=256)]
    input: Template
    reference: Template


class StringCheck(_Comparison):
    """A criterion that compares two texts: eq, ne, like (the input contains the reference), ilike (in any case)."""

    type: Literal["string_check"]
    operation: Literal["eq", "ne", "like", "ilike"]


class TextSimilarity(_Comparison):
    """A criterion that passes when two texts are similar enough, by a metric of `similarity`."""

    type: Literal["text_similarity"]
    evaluation_metric: str
    pass_threshold: Annotated[float, Field(ge=0, le=1)]


Criterion = Annotated[StringCheck | TextSimilarity, Field(discriminator="type")]


@dataclass(frozen=True, slots=True)
class Grade:
    """What a criterion says of one row. `score` is in [0, 1], None with the `error` when it could not be graded.

    `sample` is OpenAI's place for what a grader asked a model; none of these does.
    """

    name: str
    type: str
    passed: bool
    score: float | None
    error: str | None = None
    sample: None = None


def grade(criterion: StringCheck | TextSimilarity, values: Mapping[str, object], embed: Embed | None = None) -> Grade:
    """The grade of one row; `values` maps item and sample to their values. A missing value is unscored, not 0."""
    try:
        if isinstance(criterion, StringCheck):
            measure, threshold = _CHECKS[criterion.operation], 1.0
        else:
            measure, threshold = similarity(criterion.evaluation_metric, embed), criterion.pass_threshold
        score = to_score(float(measure(render(criterion.input, values), render(criterion.reference, values))))
        if score is None:
            raise EvalError("the metric is undefined for these texts")
    except EvalError as error:
        return Grade(criterion.name, criterion.type, passed=False, score=None, error=str(error))
    return Grade(criterion.name, criterion.type, passed=score >= threshold, score=score)


def look_up(path: str, values: Mapping[str, object]) -> object:
    """The value at a path. Raises EvalError naming the part that is not there."""
    found: object = values
    for part in _PART.findall(path):
        if isinstance(found, Mapping) and part in found:
            found = found[part]
        elif isinstance(found, Sequence) and not isinstance(found, str) and part.isdecimal() and int(part) < len(found):
            found = found[int(part)]
        else:
            raise EvalError(f"{path} is not there: no {part!r} in this row")
    return found


def render(template: str, values: Mapping[str, object]) -> str:
    """The template with every reference replaced; values that are not text are written as JSON.

    What a value holds is not looked at again, so a row cannot bring a template of its own. Raises TemplateError, and
    EvalError where a value is not there or null.
    """
    references(template)

    def value_of(match: re.Match[str]) -> str:
        value = look_up(match[1], values)
        if value is None:
            raise EvalError(f"{match[1]} is null in this row")
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    return _PLACE.sub(value_of, template)


def similarity(metric: str, embed: Embed | None = None) -> Measure:
    """A text similarity by its name, from (text, reference) to [0, 1]. Raises EvalError for one that is not available.

    `fuzzy_match` is rapidfuzz's normalised indel similarity. `rouge_1` to `rouge_5` and `rouge_l` are F-measures (Lin
    2004), `bleu` is sentence BLEU-4 smoothed by method 1 (Chen and Cherry 2014), `gleu` Google's BLEU (Wu et al. 2016,
    section 6), all over words in lower case. `cosine` compares embeddings. `exact_match`, `token_f1` and `contains` are
    this program's own names for SQuAD's comparisons; the rest are OpenAI's.
    """
    if metric == "cosine" and embed is not None:
        return lambda text, reference: float(matmul(*embed([text, reference])))
    if metric in _MEASURES:
        return _MEASURES[metric]
    names = ", ".join([*_MEASURES, *(["cosine"] if embed is not None else [])])
    raise EvalError(f"no similarity {metric!r} here; choose one of: {names}")


def _fuzzy(text: str, reference: str) -> float:
    from rapidfuzz import fuzz

    return fuzz.ratio(text, reference) / 100


def _bounded(measure: Measure, text: str, reference: str) -> float:
    if len(text) * len(reference) > _MAX_PAIRS:
        raise EvalError(
            f"texts of {len(text)} and {len(reference)} characters are too long for this metric, which takes up to "
            f"{_MAX_PAIRS**0.5:.0f} each; shorten them"
        )
    return measure(text, reference)


def _bleu(name: Literal["bleu", "gleu"], text: str, reference: str) -> float:
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu
    from nltk.translate.gleu_score import sentence_gleu

    said, wanted = words(text), words(reference)
    # NLTK warns and gives nonsense for texts without a word.
    if not said or not wanted:
        return float(said == wanted)
    if name == "gleu":
        return float(sentence_gleu([wanted], said))
    return float(sentence_bleu([wanted], said, smoothing_function=SmoothingFunction().method1))


_MEASURES: Mapping[str, Measure] = {
    "fuzzy_match": partial(_bounded, _fuzzy),
    "bleu": partial(_bleu, "bleu"),
    "gleu": partial(_bleu, "gleu"),
    **{f"rouge_{n}": partial(rouge, f"rouge{n}") for n in range(1, 6)},
    **METRICS,
    "rouge_l": partial(_bounded, rouge_l),
}
