"""Arms with round numbers, for costs that are worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence

from router.answering.arm import Arm
from router.answering.prompts import FEWSHOT
from router.deciding.scorecard import ArmScores, Scorecard

BASE = Arm("base")
FEW = Arm("fewshot", index="examples", prompt=FEWSHOT)
RAG = Arm("rag", index="docs")
TUNED = Arm("tuned", adapter="closed@1")
HYBRID = Arm("hybrid", adapter="raft@2", index="docs")


def make_scores(
    arm: Arm,
    values: Sequence[float | None],
    *,
    prompt: int | None = 100,
    generated: int | None = 10,
    engine_s: float | None = None,
    retrieval_s: float | None = None,
    cached: int | None = None,
    latency_ms: float = 10.0,
    abstained: Sequence[float | None] | None = None,
) -> ArmScores:
    """One arm whose every answer took the same; None is not measured."""
    n = len(values)
    extra = {} if abstained is None else {"abstained": tuple(abstained)}
    return ArmScores(
        arm=arm,
        scores={"f1": tuple(values), **extra},
        latency_ms=(latency_ms,) * n,
        prompt_tokens=(prompt,) * n,
        generated_tokens=(generated,) * n,
        engine_s=() if engine_s is None else (engine_s,) * n,
        retrieval_s=() if retrieval_s is None else (retrieval_s,) * n,
        cached_tokens=() if cached is None else (cached,) * n,
    )


def make_card(*arms: ArmScores) -> Scorecard:
    """Every question about a document of its own; an hour of each training, six minutes of each indexing."""
    n = len(arms[0].latency_ms)
    return Scorecard(
        tuple(f"q{i}" for i in range(n)),
        tuple(f"d{i}" for i in range(n)),
        "f1",
        arms,
        training_s={"closed@1": 3600.0, "raft@2": 7200.0},
        indexing_s={"docs": 360.0, "examples": 36.0},
    )
