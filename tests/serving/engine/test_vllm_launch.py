import importlib.util
import os
import sys

import pytest

from serving.engine.host import detect_host
from serving.engine.vllm_launch import parse_processors, without_modules


@pytest.mark.parametrize(
    ("binding", "processors"),
    [("0", {0}), ("0,1", {0, 1}), ("0-2", {0, 1, 2}), ("0,2-4,7", {0, 2, 3, 4, 7}), ("nobind", set())],
)
def test_the_processors_of_a_single_worker_are_known(binding: str, processors: set[int]) -> None:
    assert parse_processors(binding) == processors


@pytest.mark.parametrize("binding", ["auto", "0-3|4-7", "", "0,", "a", "0-"])
def test_where_vllm_chooses_or_refuses_nothing_is_bound_here(binding: str) -> None:
    assert parse_processors(binding) is None


def test_what_is_detected_here_is_understood() -> None:
    binding = detect_host().thread_binding

    processors = parse_processors(binding)

    assert (processors is None) == (binding == "auto")
    assert (processors or set()) <= os.sched_getaffinity(0)


def test_a_module_that_is_not_used_is_missing_for_a_while_and_can_be_had_afterwards() -> None:
    sys.modules.pop("this", None)
    with without_modules(["this", "os"]):
        assert importlib.util.find_spec("this") is None
        with pytest.raises(ImportError):
            importlib.import_module("this.part")
        # What is imported already stays.
        assert importlib.import_module("os") is os
    assert importlib.util.find_spec("this") is not None
