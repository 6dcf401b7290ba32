"""The gate `forgetting`: what the model knew before its training, and no longer says."""

from __future__ import annotations

from collections.abc import Sequence

from eval.answers import AnswerRecord
from eval.gates.gate import Gate, Probe, Told, single
from eval.metrics.text import best_over, contains
from tuning.data.examples import sample


def _harms(probe: Probe, told: Told) -> Sequence[float]:
    if not _is_right(probe, told.without[0]):
        return ()
    return (float(not _is_right(probe, told.answers[0])),)


def _is_right(probe: Probe, record: AnswerRecord) -> bool:
    # A trained arm may answer in a word where the model said a sentence: the gold has to stand in either.
    return best_over(contains, record.text, probe.questions[0].answers) == 1.0


FORGETTING = Gate(
    name="forgetting",
    title="Forgetting",
    source="Luo et al. 2023, An Empirical Study of Catastrophic Forgetting in LLMs (arXiv 2308.08747)",
    limit=0.2,
    harm="of what the model answers right without the adapter is lost",
    lacks="give general questions with short answers as guard.jsonl in the data folder, or policy.gates.guard",
    probes=lambda material: single(sample(material.guard, material.most, material.seed)),
    harms=_harms,
    compares=True,
    silent="the model knows none of the guard questions without the adapter; give ones that it knows as guard.jsonl",
)
