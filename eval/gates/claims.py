"""The gate `claims`: sentences of answers that no passage supports, which is what a model made up, or remembers."""

from __future__ import annotations

from collections.abc import Sequence

from eval.gates.gate import Gate, Material, Probe, Told
from eval.gates.refusal import is_refusal
from eval.metrics.labels import kind_of, label_sets
from eval.metrics.text import best_over, exact_match
from router.answering.citations import are_supported
from tuning.data.examples import sample


def _probes(material: Material) -> list[Probe]:
    # A label claims nothing that stands in a passage.
    kinds = label_sets(material.questions, material.examples)
    asked = [one for one in material.questions if kind_of(one) not in kinds and material.passages.get(one.id)]
    return [
        Probe(one.id, (one,), one.cluster, passages=tuple(material.passages[one.id]))
        for one in sample(asked, material.most, material.seed)
    ]


def _harms(probe: Probe, told: Told) -> Sequence[float]:
    """One for each sentence; an answer that is accepted makes up nothing, and one that abstains claims nothing."""
    text = told.answers[0].text
    if best_over(exact_match, text, probe.questions[0].answers) == 1.0:
        return (0.0,)
    if is_refusal(text):
        return ()
    return [float(not supported) for supported in are_supported(text, probe.passages)]


CLAIMS = Gate(
    name="claims",
    title="Unsupported claims",
    source="Es et al. 2024, RAGAS: faithfulness (arXiv 2309.15217), by shared words in the place of a judge",
    limit=0.3,
    harm="of the sentences of answers are supported by no passage",
    lacks="evaluate an arm that reads documents, such as rag, in the same run: its passages are what supports",
    probes=_probes,
    harms=_harms,
    silent="every answer abstains, and claims nothing",
)
