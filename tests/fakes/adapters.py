"""An adapter that is on no disk; a test changes what it is about: `replace(ADAPTER, rank=64)`."""

from pathlib import Path

from tuning.export.adapters import Adapter

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
