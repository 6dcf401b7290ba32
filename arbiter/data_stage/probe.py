"""`arbiter data probe`: what the base model knows of the training rows' answers, before anything is trained on them.

Every row is asked by several prompts, of which each gives the likeliest answer and some that are drawn; the answers are
kept as all others are, so that a probe that was stopped goes on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace

from arbiter.asking import Asker
from arbiter.config.sections import ArmConfig
from arbiter.console import Output, pad_table
from arbiter.data_stage.result import Written
from arbiter.data_stage.source import Source, SourceRow
from arbiter.data_stage.transforms import Job
from arbiter.pipeline import Pipeline
from eval.answers import Asked
from eval.knowledge import DEGREES, Degree, Knowledge, degree_of, forecast
from eval.metrics.labels import labels_of
from router.answering.arm import Sampling
from router.answering.prompts import SHORT_ANSWER, Prompt
from storage.errors import ArbiterError
from tuning.data.examples import sample

# What is asked in other words; the first is how the arms ask.
_SYSTEMS = (
    SHORT_ANSWER,
    "Give the answer in as few words as possible.",
    "You are asked a question. Say only the answer, without a sentence around it.",
)
_TEMPERATURE = 0.5
# A score from here on is a right answer.
_RIGHT = 0.5


def probe(pipeline: Pipeline, *, rows: int, samples: int) -> Knowledge:
    """What the pipeline's base model knows of at most so many training rows. Raises ArbiterError without any."""
    examples = sample(pipeline.data.examples, rows, pipeline.config.seed)
    if not examples:
        raise ArbiterError(f"data folder {str(pipeline.data.folder)!r} has no training rows to ask")
    asking = _asking(pipeline, samples)
    asking.data = replace(pipeline.data, questions=examples)
    arms = asking.arms
    asker = Asker(
        config=asking.config,
        base=asking.base,
        home=asking.home,
        console=asking.console,
        adapters={},
        indexes={},
        versions=asking.versions,
    )
    with closing(asker):
        asked = asker.ask_all(arms, examples)
    card = asking.scoring.score_deciding(arms, Asked(asked.questions, asked.records))
    right = {scores.arm.name: [(score or 0) >= _RIGHT for score in scores.scores[card.primary]] for scores in card.arms}
    degrees = {example.id: _degree(right, place) for place, example in enumerate(examples)}
    labels = labels_of(examples)
    return Knowledge(degrees, are_labels=2 * sum(map(bool, labels)) > len(examples))


def show(knowledge: Knowledge) -> Output:
    """The degrees with their shares, and what they say of a training."""
    said = forecast(knowledge)
    shares = {degree: knowledge.share(degree) for degree in DEGREES}
    cells = [
        (degree, str(knowledge.count(degree)), f"{one.mean:.0%} ({one.low:.0%} to {one.high:.0%})")
        for degree, one in shares.items()
    ]
    table = pad_table(("the answer is", "rows", "share"), cells)
    fact = {
        "rows": len(knowledge.degrees),
        "are_labels": knowledge.are_labels,
        "degrees": dict(knowledge.degrees),
        "shares": {
            degree: {"rows": knowledge.count(degree), "mean": one.mean, "low": one.low, "high": one.high}
            for degree, one in shares.items()
        },
        "forecast": said,
    }
    return f"{table}\n\n{said}", fact


def write(job: Job, source: Source, knowledge: Knowledge, *, guard: int) -> Output:
    """A data folder whose training rows say how well they are known, and of which so many known ones are in
    guard.jsonl instead, as what a training must not spoil.
    """
    known = [row for row in source.rows if knowledge.degrees.get(row.question.id) == "known"]
    guarded = {row.question.id for row in sample(known, guard, job.config.seed)}
    parts = {
        "train": [_told(row, knowledge) for row in source.rows if row.question.id not in guarded],
        "guard": [_told(row, knowledge) for row in source.rows if row.question.id in guarded],
    }
    notes = [f"{len(guarded)} rows whose answers are known are in guard.jsonl, and not trained on"]
    return job.write(source, parts, (), {"guard": guard}, notes)


def _told(row: SourceRow, knowledge: Knowledge) -> Written:
    """The row with how well it is known, if it was asked."""
    written, degree = row.as_written(), knowledge.degrees.get(row.question.id)
    if degree is not None:
        written["metadata"] = {**row.question.metadata, "knowledge": degree}
    return Written(written, row.line)


def _asking(pipeline: Pipeline, samples: int) -> Pipeline:
    """The pipeline with an arm for each way to ask."""
    config = pipeline.config
    prompts = {f"probe-{number}": Prompt(f"probe-{number}", system) for number, system in enumerate(_SYSTEMS)}
    arms: dict[str, ArmConfig] = {}
    for name in prompts:
        arms[f"{name}-likeliest"] = ArmConfig(prompt=name, sampling=replace(config.sampling, temperature=0.0))
        for draw in range(samples):
            drawn = Sampling(_TEMPERATURE, max_tokens=config.sampling.max_tokens, seed=config.seed + draw)
            arms[f"{name}-drawn-{draw}"] = ArmConfig(prompt=name, sampling=drawn)
    evaluation = replace(config.eval, labels=None, first_token_probes=0)
    changes = {"arms": arms, "prompts": {**config.prompts, **prompts}, "race": None, "eval": evaluation}
    asking = Pipeline(config.model_copy(update=changes), home=pipeline.home, console=pipeline.console)
    asking.base, asking.embedder = pipeline.base, pipeline.embedder
    return asking


def _degree(right: Mapping[str, Sequence[bool]], place: int) -> Degree:
    greedy = [column[place] for name, column in right.items() if name.endswith("-likeliest")]
    sampled = [column[place] for name, column in right.items() if not name.endswith("-likeliest")]
    return degree_of(greedy=greedy, sampled=sampled)
