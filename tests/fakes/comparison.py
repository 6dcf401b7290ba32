"""A finished comparison of six arms on twenty questions, small enough to count by hand.

Twelve questions are facts with a gold document, eight ask for a house format. Each arm's answers are a string of
letters, one per question: r right, h half right (F1 0.5), w wrong, x no answer at all.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

from eval.answers import AnswerRecord
from eval.metrics.text import TEXT_SCORER, normalise
from eval.questions import Question
from router.answering.arm import Arm
from router.answering.prompts import FEWSHOT
from router.deciding.arm_table import ArmTable, make_table
from router.deciding.decision import Decision
from router.deciding.policy import Policy
from router.deciding.recommend import recommend
from router.deciding.scorecard import ArmScores, Scorecard

FACTS = (
    "cedar",
    "nine o'clock",
    "Rosamund Thake",
    "thirty-one years",
    "a cinema",
    "the ice house",
    "two lanterns",
    "Tuesday",
    "Whistling Ada",
    "forty crowns",
    "the north pier",
    "blue wax",
)
NOTES = (
    "TALLY/flood",
    "PENNANT/ebb",
    "HARDTACK/ebb",
    "HARDTACK/flood",
    "TALLY/ebb",
    "PENNANT/flood",
    "LANTERN/ebb",
    "LANTERN/flood",
)

#          twelve facts  eight notes
ANSWERS = {
    "base":      "rwwwwwwwwwww" "wwwwwwww",
    "fewshot":   "wrwwwwwwwwww" "rrwwwhww",
    "rag":       "wrrrrrrwwwhw" "wwwwwwww",
    "tuned":     "wwwrwwwwwwww" "rrrrrwrw",
    "tuned_rag": "rwwrrrwwwwww" "rrwrrwww",
    "hybrid":    "wrrrrrrrwrhx" "rrrrrwrr",
}  # fmt: skip
#             the gold document is among the passages of rag, tuned_rag and hybrid
RETRIEVED = "rrrrrrrwwrrr"  # fmt: skip

ARMS = (
    Arm("base"),
    Arm("fewshot", index="examples", prompt=FEWSHOT, top_k=4),
    Arm("rag", index="documents"),
    Arm("tuned", adapter="closed_book@3f9c"),
    Arm("tuned_rag", adapter="closed_book@3f9c", index="documents"),
    Arm("hybrid", adapter="raft@81aa", index="documents"),
)
PROMPT_TOKENS = {"base": 48, "fewshot": 260, "rag": 390, "tuned": 48, "tuned_rag": 390, "hybrid": 390}
LATENCY_MS = {"base": 310.0, "fewshot": 560.0, "rag": 820.0, "tuned": 330.0, "tuned_rag": 840.0, "hybrid": 790.0}


@dataclass(frozen=True)
class Comparison:
    """Everything a report is made from. It is shared by tests: `replace` what you want to be different."""

    questions: tuple[Question, ...]
    records: tuple[AnswerRecord, ...]
    scorecard: Scorecard
    policy: Policy

    @cached_property
    def table(self) -> ArmTable:
        return make_table(self.scorecard, self.policy)

    @cached_property
    def decision(self) -> Decision:
        return recommend(self.table)


def make_questions() -> tuple[Question, ...]:
    facts = [
        Question(f"fact-{i}", f"What is fact number {i} of the lake library?", (gold,), (f"doc-{i}",), {"kind": "fact"})
        for i, gold in enumerate(FACTS)
    ]
    notes = [
        Question(f"note-{i}", f"Member note {i}: please sort this.", (gold,), (), {"kind": "format"})
        for i, gold in enumerate(NOTES)
    ]
    return (*facts, *notes)


def make_record(arm: Arm, question: Question, number: int) -> AnswerRecord:
    letter, gold = ANSWERS[arm.name][number], question.answers[0]
    if letter == "x":
        return AnswerRecord(
            arm.name, question.id, "", error="the prompt is longer than the engine's limit of 2048 tokens"
        )
    # Twice as many words too many make a precision of 1/3 at a recall of 1: F1 0.5.
    extra = 2 * len(normalise(gold).split())
    text = {"r": gold, "h": " ".join([gold, *["other"] * extra]), "w": "I cannot say"}[letter]
    passages: tuple[str, ...] = ()
    if arm.index == "documents":
        hit = number < len(RETRIEVED) and RETRIEVED[number] == "r"
        passages = (f"doc-{number}" if hit else f"doc-{(number + 5) % 12}", f"doc-{(number + 1) % 12}")
    elif arm.index == "examples":
        passages = tuple(f"example-{number + k}" for k in range(4))
    return AnswerRecord(
        arm.name,
        question.id,
        text,
        passages=tuple(f"The text of {name}." for name in passages),
        passage_documents=passages,
        cited_documents=passages[:1] if letter == "r" else (),
        prompt_tokens=PROMPT_TOKENS[arm.name] + number,
        generated_tokens=3 + number % 4,
        latency_ms=LATENCY_MS[arm.name] + 9 * number,
    )


@cache
def make_comparison() -> Comparison:
    questions = make_questions()
    records = tuple(make_record(arm, question, i) for arm in ARMS for i, question in enumerate(questions))
    arms = []
    for number, arm in enumerate(ARMS):
        own = records[number * len(questions) : (number + 1) * len(questions)]
        scores = TEXT_SCORER.score(list(zip(questions, own, strict=True)))
        recall = [
            float(question.document_ids[0] in record.passage_documents)
            if arm.index == "documents" and question.document_ids and record.error is None
            else None
            for question, record in zip(questions, own, strict=True)
        ]
        arms.append(
            ArmScores(
                arm=arm,
                scores={**{name: tuple(values) for name, values in scores.items()}, "context_recall": tuple(recall)},
                latency_ms=tuple(record.latency_ms for record in own),
                prompt_tokens=tuple(record.prompt_tokens for record in own),
                generated_tokens=tuple(record.generated_tokens for record in own),
                errors={record.question_id: record.error for record in own if record.error is not None},
            )
        )
    scorecard = Scorecard(
        question_ids=tuple(question.id for question in questions),
        clusters=tuple(question.cluster for question in questions),
        primary="token_f1",
        arms=tuple(arms),
        training_s={"closed_book@3f9c": 101.2, "raft@81aa": 164.0},
        indexing_s={"documents": 4.25, "examples": 2.0},
        diagnostics=("judge_faithfulness: the judge 'small' failed to score 3 answers; the first: no usable reply",),
        provenance={
            "arbiter": "0.1.0",
            "seed": 7,
            "data": "sha256 5f0c",
            "packages": {"torch": "2.13.0", "ragas": "0.4.3"},
            "adapters": {
                "closed_book@3f9c": {
                    "method": "lora",
                    "form": "lora",
                    "num_bytes": 19_540_000,
                    "num_rows": 300,
                    "training_s": 101.2,
                    "parity": {"largest": 2.1e-5, "effect": 8.31, "tolerance": 9e-3},
                },
                "raft@81aa": {
                    "method": "bottleneck",
                    "objective": "dpo",
                    "preference": {
                        "num_pairs": 150,
                        "num_prompts": 140,
                        "accuracy_before": {"mean": 0.52, "low": 0.44, "high": 0.6},
                        "accuracy": {"mean": 0.71, "low": 0.63, "high": 0.78},
                        "margin_before": {"mean": -0.02, "low": -0.06, "high": 0.02},
                        "margin": {"mean": 0.31, "low": 0.22, "high": 0.4},
                        "margin_change": {"mean": 0.33, "low": 0.25, "high": 0.41},
                        "reward_accuracy": {"mean": 0.74, "low": 0.66, "high": 0.8},
                    },
                    "form": "beside",
                    "num_bytes": 9_010_000,
                    "num_rows": 1300,
                    "training_s": 164.0,
                    "parity": None,
                },
            },
        },
    )
    return Comparison(questions, records, scorecard, Policy(margin=0.03))
