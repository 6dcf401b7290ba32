"""An adapter that is on no disk; a test changes what it is about: `replace(ADAPTER, rank=64)`. And one that is there,
of weights that nobody loads.
"""

import json
from pathlib import Path

from storage.folders import write_manifest
from storage.hashes import hash_files
from tuning.export.adapters import Adapter, adapter_hash

ADAPTER = Adapter(
    name="raft@3f9c1a2b",
    path=Path("raft@3f9c1a2b"),
    base_name="org/base",
    base_revision="r1",
    chat_template_hash="t1",
    recipe_hash="recipe",
    form="lora",
    rank=16,
    unserved=(),
    num_rows=9,
    num_dropped=0,
    num_tokens=400,
    training_s=2.5,
    final_loss=0.5,
)


def write_adapter(home: Path, called: str = "raft", template: str = "t1") -> str:
    """An adapter directory with weights that nobody loads, trained with the template of this hash; returns its name."""
    draft = home / "adapters" / "draft"
    draft.mkdir(parents=True)
    (draft / "adapter_config.json").write_text(json.dumps({"r": 8}))
    (draft / "adapter_model.safetensors").write_bytes(b"weights")
    name = f"{called}@{adapter_hash(draft)}"
    manifest = {
        "name": name,
        "base_name": "org/base",
        "base_revision": "r1",
        "chat_template_hash": template,
        "recipe_hash": "recipe",
        "num_rows": 9,
        "num_dropped": 0,
        "num_tokens": 400,
        "training_s": 2.5,
        "final_loss": 0.5,
        "files": hash_files(draft),
    }
    write_manifest(draft, manifest)
    draft.rename(home / "adapters" / name)
    return name
