from pathlib import Path
from typing import Any

import pytest

from arbiter.model_cards import write_model_cards
from eval.answers import AnswerRecord
from eval.gates.settings import GateSettings
from eval.questions import Question
from eval.runs.run import Run, publish_run
from router.answering.arm import Arm
from router.deciding.scorecard import ArmScores, Scorecard
from storage.folders import write_manifest

QUESTIONS = tuple(Question(f"q{i}", f"What is {i}?", (str(i),)) for i in range(20))
TOLD: dict[str, Any] = {
    "before": "",
    "kind": "unstructured",
    "layer_numbers": 10,
    "layer_zeros": 4,
    "numbers": 12,
    "nonzero": 8,
    "num_bytes": 60,
    "packed_bytes": None,
    "is_trained": False,
}


def made(home: Path, *arms: Arm) -> Run:
    """A run in which base is right and whatever answers with an adapter is not."""
    columns = ((9.0,) * 20, (7,) * 20, (3,) * 20)
    return publish_run(
        home / "runs" / "team-1",
        config_yaml="data: demo\n",
        questions=QUESTIONS,
        records=[AnswerRecord(arm.name, one.id, "x") for arm in arms for one in QUESTIONS],
        scorecard=Scorecard(
            question_ids=tuple(one.id for one in QUESTIONS),
            clusters=tuple(one.cluster for one in QUESTIONS),
            primary="exact_match",
            arms=tuple(
                ArmScores(arm, {"exact_match": (0.0 if arm.adapter else 1.0,) * 20}, *columns)  # type: ignore[arg-type]  # columns of several types
                for arm in arms
            ),
            provenance={"adapters": {"pruned@12ab34cd": {"compression": TOLD}, "lora@12ab34cd": {}}},
        ),
        manifest={},
    )


def published(home: Path, name: str, **more: Any) -> Path:
    folder = home / "adapters" / name
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("as it was")
    manifest = {"name": name, "base_name": "org/base", "base_revision": "r1", "chat_template_hash": "t1"}
    write_manifest(folder, manifest | more)
    return folder / "README.md"


@pytest.mark.parametrize("is_asked", [True, False])
def test_the_card_of_what_was_pruned_says_what_it_cost_in_the_run(is_asked: bool, tmp_path: Path) -> None:
    pruned = published(tmp_path, "pruned@12ab34cd", compression=TOLD)
    lora = published(tmp_path, "lora@12ab34cd")
    base = [Arm("base", top_k=0)] if is_asked else []
    run = made(tmp_path, *base, Arm("small", adapter="pruned@12ab34cd", top_k=0), Arm("tuned", adapter="lora@12ab34cd"))
    write_model_cards(run, GateSettings(), alpha=0.05, home=tmp_path)
    text = pruned.read_text()
    assert ("In run `team-1` arm small scores -1.000 beside base (-" in text) == is_asked
    assert ("95% confidence) by exact_match on 20 questions" in text) == is_asked
    assert ("What that cost is told here once a run asks it" in text) != is_asked
    assert lora.read_text() == "as it was"
