"""The Python API: its names, and what importing it costs."""

import subprocess
import sys

import pytest

import arbiter


def test_every_name_of_the_api_is_there() -> None:
    for name in arbiter.__all__:
        assert getattr(arbiter, name).__doc__


def test_a_name_that_is_none_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'arbiter' has no attribute 'Pipelien'"):
        arbiter.Pipelien  # noqa: B018


def test_importing_it_loads_no_library() -> None:
    code = "import sys, arbiter; print(sorted({'torch', 'faiss', 'pydantic', 'transformers'} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
