"""The losses are TRL's: on the same model and rows its own trainers find the same numbers."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tuning.data.rows import PairRow, RatedRow, Row
from tuning.objectives.kto import Kto
from tuning.objectives.objective import ObjectiveSettings
from tuning.objectives.preference import Dpo, Orpo, Simpo
from tuning.objectives.registry import OBJECTIVES

# It computes with torch and TRL.
pytestmark = pytest.mark.slow

PAIRS = [
    PairRow(({"role": "user", "content": "what colour is sea"},), "blue", "red two three"),
    PairRow(({"role": "user", "content": "one"},), "two three", "sea"),
    PairRow(
        ({"role": "system", "content": "north south"}, {"role": "user", "content": "what is north"}), "one is", "green"
    ),
]
RATED = [
    *(RatedRow(pair.prompt, pair.chosen, True) for pair in PAIRS),
    RatedRow(PAIRS[0].prompt, PAIRS[0].rejected, False),
    RatedRow(PAIRS[1].prompt, PAIRS[1].rejected, False),
]


@pytest.fixture(scope="module")
def toy(tiny_base: Path) -> Any:
    """A model, another that it shall be compared with, and their tokenizer."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    reference = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32).eval()
    model = copy.deepcopy(reference)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    return SimpleNamespace(model=model, reference=reference, tokenizer=tokenizer)


def batch_of(toy: Any, rows: Sequence[Row], numbers: ObjectiveSettings) -> Any:
    """Rows as a training makes a batch of them, with what the reference gives their texts."""
    from tuning.training.batches import Plan, encode_rows
    from tuning.training.measuring import padded
    from tuning.training.reading import sums_of

    encoded, _ = encode_rows(toy.tokenizer, rows, OBJECTIVES[numbers.name], max_length=99)
    plan = Plan(encoded, 0, range(len(rows)), len(rows))
    plan = plan.with_reference(sums_of(toy.reference, plan.texts, 0))
    return padded(plan.rows, 0, "cpu")


def loss_of(toy: Any, batch: Any, numbers: ObjectiveSettings, *, rows_a_part: int = 99) -> Any:
    """A step's loss, worked on in parts."""
    from tuning.training.parts import parts_of

    objective, parts = OBJECTIVES[numbers.name], parts_of(batch, rows_a_part)
    whole = objective.whole(toy.model, parts, numbers)
    return sum(objective.loss(toy.model, part, whole, numbers) for part in parts)


def conversation(row: PairRow) -> dict[str, Any]:
    sides = {"chosen": row.chosen, "rejected": row.rejected}
    return {
        "prompt": list(row.prompt),
        **{side: [{"role": "assistant", "content": answer}] for side, answer in sides.items()},
    }


def trl_s_loss(toy: Any, numbers: ObjectiveSettings, folder: Path) -> tuple[Any, Any]:
    """A model of its own, and the loss of all rows that TRL's trainer finds with it, from the texts on."""
    from datasets import Dataset

    model, common = copy.deepcopy(toy.model), {"output_dir": str(folder), "report_to": "none", "use_cpu": True}
    common |= {"bf16": False, "per_device_train_batch_size": 99, "gradient_checkpointing": False}
    pairs = Dataset.from_list([conversation(row) for row in PAIRS])
    if isinstance(numbers, Orpo | Simpo):
        from trl.experimental.cpo import CPOConfig, CPOTrainer
        from trl.experimental.orpo import ORPOConfig, ORPOTrainer

        if isinstance(numbers, Orpo):
            config: Any = ORPOConfig(beta=numbers.beta, max_length=99, **common)
            trainer = ORPOTrainer(model, config, train_dataset=pairs, processing_class=toy.tokenizer)
        else:
            how = {"loss_type": "simpo", "cpo_alpha": 0.0, "simpo_gamma": numbers.gamma}
            config = CPOConfig(beta=numbers.beta, max_length=99, **how, **common)
            trainer = CPOTrainer(model, config, train_dataset=pairs, processing_class=toy.tokenizer)
        (batch,) = trainer.get_train_dataloader()
        return model, trainer.get_batch_loss_metrics(model, batch)[0]
    reference = copy.deepcopy(toy.reference)
    if isinstance(numbers, Dpo):
        from trl import DPOConfig, DPOTrainer

        config = DPOConfig(beta=numbers.beta, max_length=99, **common)
        trainer = DPOTrainer(model, reference, config, train_dataset=pairs, processing_class=toy.tokenizer)
    else:
        from trl import KTOConfig, KTOTrainer

        assert isinstance(numbers, Kto)
        weights = {"desirable_weight": numbers.wanted_weight, "undesirable_weight": numbers.unwanted_weight}
        rated = Dataset.from_list(
            [
                {
                    "prompt": list(row.prompt),
                    "completion": [{"role": "assistant", "content": row.answer}],
                    "label": row.is_wanted,
                }
                for row in RATED
            ]
        )
        config = KTOConfig(beta=numbers.beta, max_length=99, **weights, **common)
        trainer = KTOTrainer(model, reference, config, train_dataset=rated, processing_class=toy.tokenizer)
    (batch,) = trainer.get_train_dataloader()
    return model, trainer.compute_loss(model, batch)


@pytest.mark.parametrize(
    "numbers",
    [
        Dpo(),
        Dpo(beta=0.7),
        Simpo(),
        Simpo(beta=1.3, gamma=0.2),
        Orpo(),
        Orpo(beta=0.9),
        Kto(),
        Kto(beta=0.6, wanted_weight=2.0, unwanted_weight=0.5),
    ],
    ids=repr,
)
def test_the_loss_and_its_gradients_are_trl_s(numbers: ObjectiveSettings, toy: Any, tmp_path: Path) -> None:
    import torch

    rows: Sequence[Row] = RATED if isinstance(numbers, Kto) else PAIRS
    model, expected = trl_s_loss(toy, numbers, tmp_path)
    theirs = torch.autograd.grad(expected, list(model.parameters()))
    batch = batch_of(toy, rows, numbers)
    if isinstance(numbers, Kto):
        assert float(OBJECTIVES["kto"].whole(toy.model, [batch], numbers)["distance"]) > 0.01, "it has a say"
    for rows_a_part in (99, 1):  # parts of a step change nothing
        found = loss_of(toy, batch, numbers, rows_a_part=rows_a_part)
        assert float(found.detach()) == pytest.approx(float(expected.detach()), abs=1e-5)
        ours = torch.autograd.grad(found, list(toy.model.parameters()))
        for one, other in zip(ours, theirs, strict=True):
            assert float((one - other).abs().max()) < 1e-5
        assert max(float(one.abs().max()) for one in ours) > 1e-3


def test_the_distance_of_kto_is_over_the_whole_step_and_none_below_the_beginning(toy: Any) -> None:
    from tuning.training.parts import parts_of

    numbers, batch = Kto(), batch_of(toy, RATED, Kto())
    found = [
        float(OBJECTIVES["kto"].whole(toy.model, parts_of(batch, rows_a_part), numbers)["distance"])
        for rows_a_part in (99, 2, 1)
    ]
    assert found == pytest.approx([found[0]] * 3, abs=1e-5)
    # As if the beginning had given each text less by five, or more by a hundred.
    less, more = ({**batch, "reference": batch["reference"] + by} for by in (-5.0, 100.0))
    assert float(OBJECTIVES["kto"].whole(toy.model, [less], numbers)["distance"]) > 1.0
    assert float(OBJECTIVES["kto"].whole(toy.model, [more], numbers)["distance"]) == 0.0
