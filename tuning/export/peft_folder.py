"""The two files that plain PEFT and vLLM load: `save_adapter(model, folder, base_name=..., base_revision=...)`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from tuning.export.adapters import CONFIG, WEIGHTS


def save_adapter(model: Any, folder: Path, *, base_name: str, base_revision: str) -> None:
    """Write a PeftModel's adapter: the same bytes for the same weights, wherever they were trained."""
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(str(folder))
    (folder / "README.md").unlink(missing_ok=True)
    config = json.loads((folder / CONFIG).read_bytes())
    # PEFT writes this machine's path to the base model, and its sets in the order of the process's hash seed.
    config |= {"base_model_name_or_path": base_name, "revision": base_revision}
    config = {key: sorted(value) if isinstance(value, list) else value for key, value in config.items()}
    (folder / CONFIG).write_text(json.dumps(config, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    assert {path.name for path in folder.iterdir()} == {CONFIG, WEIGHTS}
