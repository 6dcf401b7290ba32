"""The tests of a promptfoo config, wherever it keeps them: in files that it names, behind references, in scenarios.

tests_in(yaml.safe_load(text), Path("promptfooconfig.yaml"), load)  # [{"vars": {...}, "assert": [...]}, ...]

https://www.promptfoo.dev/docs/configuration/test-cases says what may stand where.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from storage.encoding import decode
from storage.errors import StorageError, reason_of

Load = Callable[[Path], Any]
"""The value that a file holds; a list of rows of a table."""

_FILE = "file://"
_VALUES = (".yaml", ".yml", ".json", ".jsonl", ".csv", ".tsv", ".xlsx")
_PROGRAMS = (".js", ".cjs", ".mjs", ".ts", ".py", ".rb")
_CHECK = re.compile(r"(?:(?P<kind>[a-z]+(?:-[a-z]+)*)(?:\([\d.]+\))?:)?(?P<value>.*)", re.DOTALL)
# A reference may lead to another one, not on for ever.
_DEPTH = 20


def is_config(value: Any) -> bool:
    """Whether a value is a promptfoo config, or a file of tests that needs one's rules to be read."""
    if isinstance(value, Mapping):
        tests = value.get("tests")
        return "scenarios" in value or isinstance(tests, str) or (isinstance(tests, list) and any(map(_is_test, tests)))
    return isinstance(value, list) and any(isinstance(one, Mapping) and _is_test(one) for one in value)


def _is_test(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, Mapping) and ("vars" in value or "$ref" in value))


def tests_in(config: Any, path: Path, load: Load) -> list[Any]:
    """The tests with what they share: `defaultTest`, references followed, files in place of their names.

    A program that makes tests is not run. Raises StorageError for it, and for files that are not there or lie outside
    the config's folder; ValueError for a reference that leads nowhere.
    """
    root = config if isinstance(config, Mapping) else {"tests": config}
    found = _Config(path, root, load)
    default = found.followed(found.value_of(root.get("defaultTest") or {}))
    tests = found.tests(root.get("tests") or [])
    for scenario in found.list_of(root.get("scenarios") or []):
        for given in found.tests(scenario.get("config") or []):
            tests += [_merged(given, test) for test in found.tests(scenario.get("tests") or [{}])]
    return [found.with_texts(_merged(default, test)) if isinstance(test, Mapping) else test for test in tests]


def case_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a table as a test: a column a variable, and checks in `__expected`, `__expected1`, ..."""
    cells = [str(value).strip() for name, value in row.items() if name.startswith("__expected") and value is not None]
    checks = [check for cell in cells if cell and (check := _CHECK.fullmatch(cell)) is not None]
    # Without a kind it is the answer to the letter.
    found = [{"type": check["kind"] or "equals", "value": check["value"].strip()} for check in checks]
    held = {name: value for name, value in row.items() if not name.startswith("__")}
    return {"vars": held, "assert": found}


class _Config:
    """A config and the folder that its files lie in."""

    def __init__(self, path: Path, root: Mapping[str, Any], load: Load) -> None:
        self._path, self._root, self._load = path, root, load

    def tests(self, given: Any) -> list[Any]:
        """The tests of a list, or of the files that a name stands for."""
        found: list[Any] = []
        for one in given if isinstance(given, list) else [given]:
            name = one.get("path") if isinstance(one, Mapping) and "vars" not in one else one
            if not isinstance(name, str):
                found.append(self.followed(one))
                continue
            for file in self._files(name):
                held = self._value(file)
                held = held.get("tests", [held]) if isinstance(held, Mapping) else held
                rows = held if isinstance(held, list) else [held]
                is_table = any(isinstance(row, Mapping) and row.keys() & {"vars", "assert", "$ref"} for row in rows)
                found += self.tests(rows) if is_table else [case_of(row) for row in rows if isinstance(row, Mapping)]
        return found

    def list_of(self, given: Any) -> list[Mapping[str, Any]]:
        """Objects of a list, or of the files that stand in it."""
        held = [self.value_of(one) for one in (given if isinstance(given, list) else [given])]
        flat = [one for value in held for one in (value if isinstance(value, list) else [value])]
        return [self.followed(one) for one in flat if isinstance(one, Mapping)]

    def value_of(self, given: Any) -> Any:
        """The value, or that of the file which it names."""
        if not isinstance(given, str):
            return given
        (file, *_) = self._files(given)
        return self._value(file)

    def followed(self, value: Any, depth: int = 0) -> Any:
        """The value with what its references lead to in their place."""
        if depth > _DEPTH:
            raise ValueError("a $ref leads to itself")
        if isinstance(value, list):
            return [self.followed(one, depth) for one in value]
        if not isinstance(value, Mapping):
            return value
        if isinstance(reference := value.get("$ref"), str):
            file, _, place = reference.partition("#")
            held: Any = self.value_of(file) if file else self._root
            for name in filter(None, place.split("/")):
                if not isinstance(held, Mapping) or name not in held:
                    raise ValueError(f"$ref {reference!r} leads nowhere")
                held = held[name]
            return self.followed(held, depth + 1)
        return {name: self.followed(one, depth) for name, one in value.items()}

    def with_texts(self, test: Mapping[str, Any]) -> Mapping[str, Any]:
        """The test with what the files hold that its variables and answers name; a name that cannot be read stays."""
        given = self.value_of(test["vars"]) if isinstance(test.get("vars"), str) else test.get("vars")
        held = {name: self._text(value) for name, value in given.items()} if isinstance(given, Mapping) else given
        checks = [
            {**check, "value": self._text(check["value"])} if isinstance(check, Mapping) and "value" in check else check
            for check in test.get("assert") or []
        ]
        return {**test, "vars": held, "assert": checks}

    def _text(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._text(one) for one in value]
        if not isinstance(value, str) or not value.startswith(_FILE):
            return value
        try:
            (file, *_) = self._files(value)
            return self._value(file) if file.suffix.lower() in _VALUES else decode(file.read_bytes()).strip()
        except (StorageError, OSError):
            return value

    def _files(self, name: str) -> list[Path]:
        """The files that a name or a pattern stands for, in the order of their names."""
        folder, inner = self._path.parent, name.removeprefix(_FILE)
        if "://" in inner or Path(inner).suffix.partition(":")[0].lower() in _PROGRAMS:
            raise StorageError(f"{self._path} has {name!r}, which is not fetched or run; save what it gives as a file")
        found = sorted(folder.glob(inner)) if re.search(r"[*?\[]", inner) else [folder / inner]
        if not found or not all(file.is_file() for file in found):
            raise StorageError(f"{self._path} names {name!r}, which is not there; correct it or take it away")
        if not all(file.resolve().is_relative_to(folder.resolve()) for file in found):
            raise StorageError(f"{self._path} names {name!r}, which lies outside its folder; copy it there")
        return found

    def _value(self, file: Path) -> Any:
        try:
            return self._load(file)
        except OSError as error:
            raise StorageError(f"cannot read {str(file)!r}: {reason_of(error)}") from error


def _merged(shared: Any, test: Any) -> Any:
    """A test with the variables and checks that it shares with others, its own above them."""
    if not isinstance(shared, Mapping) or not isinstance(test, Mapping):
        return test
    given = [one.get("vars") or {} for one in (shared, test)]
    held = {**given[0], **given[1]} if all(isinstance(one, Mapping) for one in given) else given[1]
    checks = [check for one in (test, shared) for check in _listed(one.get("assert"))]
    return {**shared, **test, "vars": held, "assert": checks}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value] if value else []
