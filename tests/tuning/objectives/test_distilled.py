"""The loss of learning from a teacher's probabilities, by hand and beside TRL's."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pytest
from fakes.lazy import Lazy

from tuning.errors import TuningError
from tuning.objectives.distilled import Distill, Gkd, divergence, is_distilled, wants_answers
from tuning.objectives.supervised import Supervised

if TYPE_CHECKING:
    import torch
else:
    torch = Lazy("torch")

# It computes with torch.
pytestmark = pytest.mark.slow


def told(teacher: Any, top: int) -> Any:
    """The likeliest tokens of each distribution, and their log-probabilities."""
    found = teacher.log_softmax(-1).topk(top)
    return found.indices, found.values


@pytest.mark.parametrize(
    ("beta", "expected"),
    [
        # p is 0.6, 0.3 and 0.1 for all others; q is 0.5, 0.25 and 0.25.
        (0.0, 0.6 * math.log(0.6 / 0.5) + 0.3 * math.log(0.3 / 0.25) + 0.1 * math.log(0.1 / 0.25)),
        (1.0, 0.5 * math.log(0.5 / 0.6) + 0.25 * math.log(0.25 / 0.3) + 0.25 * math.log(0.25 / 0.1)),
        (
            0.5,
            0.5 * (0.6 * math.log(0.6 / 0.55) + 0.3 * math.log(0.3 / 0.275) + 0.1 * math.log(0.1 / 0.175))
            + 0.5 * (0.5 * math.log(0.5 / 0.55) + 0.25 * math.log(0.25 / 0.275) + 0.25 * math.log(0.25 / 0.175)),
        ),
    ],
)
def test_the_divergence_by_hand_takes_all_that_is_not_told_for_one_token(beta: float, expected: float) -> None:
    logits = torch.tensor([[0.25, 0.125, 0.5, 0.125]]).log()
    ids, taught = torch.tensor([[2, 0, 2]]), torch.tensor([[0.6, 0.3, 0.0]]).log()
    assert float(divergence(logits, ids, taught, beta)) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0])
def test_of_whole_distributions_it_is_trl_s_and_of_a_part_it_is_less(beta: float) -> None:
    gkd = pytest.importorskip("trl.experimental.gkd")
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 6, 40, requires_grad=True), torch.randn(2, 6, 40)
    labels = torch.zeros(2, 6, dtype=torch.long)
    labels[1, 3:] = -100
    expected = gkd.GKDTrainer.generalized_jsd_loss(student, teacher, labels=labels, beta=beta)
    (gradient,) = torch.autograd.grad(expected, student)
    is_learned = labels != -100

    def found(top: int) -> Any:
        return divergence(student[is_learned], *told(teacher[is_learned], top), beta).mean()

    assert float(found(40).detach()) == pytest.approx(float(expected.detach()), abs=1e-5)
    (ours,) = torch.autograd.grad(found(40), student)
    assert torch.allclose(ours, gradient, atol=1e-5)
    parts = [float(found(top).detach()) for top in (1, 5, 20, 39, 40)]
    assert parts == sorted(parts)
    assert parts[0] > 0


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_alike_distributions_are_not_apart_and_have_no_gradient(beta: float) -> None:
    torch.manual_seed(0)
    logits = (3 * torch.randn(5, 30)).requires_grad_()
    lost = divergence(logits, *told(logits.detach(), 7), beta).sum()
    (gradient,) = torch.autograd.grad(lost, logits)
    assert abs(float(lost)) < 1e-5
    assert float(gradient.abs().max()) < 1e-5


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_a_teacher_that_is_sure_gives_numbers(beta: float) -> None:
    logits = torch.tensor([[-80.0, 80.0, 0.0], [0.0, 0.0, 0.0]], requires_grad=True)
    lost = divergence(logits, torch.tensor([[0], [0]]), torch.tensor([[0.0], [1e-7]]), beta).sum()
    (gradient,) = torch.autograd.grad(lost, logits)
    assert torch.isfinite(lost)
    assert torch.isfinite(gradient).all()


def test_which_objectives_ask_a_teacher_for_what() -> None:
    given, asked = Gkd(), Gkd(answers="teacher")
    assert [is_distilled(one) for one in (Supervised(), Distill(), given)] == [False, True, True]
    assert [wants_answers(one) for one in (Supervised(), Distill(), given, asked)] == [False, True, False, True]
    assert not wants_answers(Gkd(answers="teacher", lmbda=1.0)), "no step takes them"
    with pytest.raises(TuningError, match="lmbda must be a number from 0 to 1, not 2"):
        Gkd(lmbda=2.0)
