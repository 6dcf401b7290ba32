import json
from dataclasses import replace
from pathlib import Path

import pytest
from fakes.adapters import ADAPTER as FIT

from tuning.base import ResolvedModel
from tuning.errors import TuningError
from tuning.export.adapters import Adapter
from tuning.export.admission import chat_template_hash, check_admission


@pytest.mark.parametrize(
    ("adapter", "reasons"),
    [
        (FIT, []),
        (replace(FIT, base_name="org/other"), ["base model 'org/other', not 'org/base'"]),
        (replace(FIT, base_name="org/other", base_revision="r2"), ["base model 'org/other'"]),
        (replace(FIT, base_revision="r2"), ["revision 'r2', not 'r1'"]),
        (replace(FIT, rank=17), ["rank 17 is over max_lora_rank 16"]),
        (replace(FIT, unserved=("DoRA", "trained biases")), ["it has DoRA; trained biases, which vLLM"]),
        (replace(FIT, chat_template_hash="t2"), ["chat template t2, not t1"]),
        (replace(FIT, base_revision="r2", chat_template_hash="t2", rank=64), ["revision", "chat template", "rank 64"]),
    ],
)
def test_admission_names_every_reason(adapter: Adapter, reasons: list[str]) -> None:
    found = check_admission(adapter, ResolvedModel("org/base", "r1", ""), max_rank=16, chat_template_hash="t1")
    assert len(found) == len(reasons)
    assert all(part in reason for part, reason in zip(reasons, found, strict=True))


def test_a_template_hashes_alike_wherever_the_folder_keeps_it(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("file", "inside", "named")]
    for folder in folders:
        folder.mkdir()
    (folders[0] / "chat_template.jinja").write_text("{{ é }}", encoding="utf-8")
    (folders[1] / "tokenizer_config.json").write_text(json.dumps({"chat_template": "{{ é }}"}))
    named = [{"name": "tool_use", "template": "x"}, {"name": "default", "template": "{{ é }}"}]
    (folders[2] / "tokenizer_config.json").write_text(json.dumps({"chat_template": named}))
    assert len({chat_template_hash(folder) for folder in folders}) == 1
    (folders[0] / "chat_template.jinja").write_text("{{ e }}")
    assert chat_template_hash(folders[0]) != chat_template_hash(str(folders[1]))


@pytest.mark.parametrize("config", [None, "{", "[]", "{}", '{"chat_template": 3}', '{"chat_template": ["x"]}'])
def test_a_folder_without_a_template_is_refused(tmp_path: Path, config: str | None) -> None:
    if config is not None:
        (tmp_path / "tokenizer_config.json").write_text(config)
    with pytest.raises(TuningError, match="chat template"):
        chat_template_hash(tmp_path)
