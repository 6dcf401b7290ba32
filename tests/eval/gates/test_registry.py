from typing import get_args

from eval.gates.registry import GATES
from eval.gates.settings import GateName


def test_the_names_of_the_settings_are_those_of_the_gates() -> None:
    assert tuple(GATES) == get_args(GateName)


def test_every_gate_says_where_it_comes_from_and_what_to_give() -> None:
    for gate in GATES.values():
        assert gate.source
        assert gate.lacks
        assert 0 < gate.limit < 1
        assert bool(gate.silent) or not gate.compares
