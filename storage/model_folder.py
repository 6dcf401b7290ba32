"""A model's folder that is made here: complete or absent, made once: `fill_once(cache / "tiny@1", manifest, write)`."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

MANIFEST = "manifest.json"


def fill_once(target: Path, manifest: Mapping[str, object], write: Callable[[Path], None]) -> None:
    """Fills `target` once, whoever asks and whenever the process is killed: temporary folder, manifest last, rename.

    A second process waits for the first. Raises OSError, and what `write` raises.
    """
    draft = target.with_name(f".{target.name}.draft")
    target.parent.mkdir(parents=True, exist_ok=True)
    with _locked(target.with_name(f".{target.name}.lock")):
        if (target / MANIFEST).is_file():
            return
        shutil.rmtree(draft, ignore_errors=True)
        shutil.rmtree(target, ignore_errors=True)
        try:
            draft.mkdir()
            write(draft)
            (draft / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
            draft.rename(target)
        finally:
            shutil.rmtree(draft, ignore_errors=True)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
