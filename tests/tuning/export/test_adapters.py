import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from storage.errors import StorageError
from storage.folders import write_manifest
from storage.hashes import hash_files
from tuning.errors import TuningError
from tuning.export.adapters import (
    Adapter,
    adapter_hash,
    find_adapter,
    load_adapter,
    open_adapter,
)

CONFIG: dict[str, Any] = {"r": 8, "rank_pattern": {}, "use_dora": False, "modules_to_save": None, "bias": "none"}


def written(
    parent: Path, config: dict[str, Any] | None = None, *, weights: bytes = b"weights", **manifest: Any
) -> Path:
    """An adapter directory with weights that nobody loads."""
    draft = parent / "draft"
    draft.mkdir(parents=True)
    (draft / "adapter_config.json").write_text(json.dumps({**CONFIG, **(config or {})}))
    (draft / "adapter_model.safetensors").write_bytes(weights)
    final = parent / f"raft@{adapter_hash(draft)}"
    full = {
        "name": final.name,
        "base_name": "org/base",
        "base_revision": "r1",
        "chat_template_hash": "t1",
        "recipe_hash": "recipe",
        "num_rows": 9,
        "num_dropped": 1,
        "num_tokens": 400,
        "training_s": 2.5,
        "final_loss": 0.5,
        "files": hash_files(draft),
    }
    write_manifest(draft, {key: value for key, value in {**full, **manifest}.items() if value is not None})
    return draft.rename(final)


def test_a_directory_becomes_an_adapter(tmp_path: Path) -> None:
    path = written(tmp_path, {"rank_pattern": {"q_proj": 12}, "modules_to_save": ["lm_head"], "lora_bias": True})
    assert load_adapter(path) == Adapter(
        name=path.name,
        path=path,
        base_name="org/base",
        base_revision="r1",
        chat_template_hash="t1",
        recipe_hash="recipe",
        form="lora",
        rank=12,
        unserved=("whole modules in place of the base's (lm_head)", "trained biases"),
        num_rows=9,
        num_dropped=1,
        num_tokens=400,
        training_s=2.5,
        final_loss=0.5,
    )


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"modules_to_save": ["norm"]}, "whole modules in place of the base's (norm)"),
        ({"bias": "lora_only"}, "trained biases"),
        ({"lora_bias": True}, "trained biases"),
        ({"init_lora_weights": "pissa_niter_4"}, "first weights by 'pissa_niter_4', which changed the base"),
        ({"init_lora_weights": "lora_ga"}, "first weights by 'lora_ga', which changed the base"),
        ({"target_modules": ["q_proj", "lm_head"]}, "an update of lm_head"),
        ({"target_modules": "lm_head"}, "an update of lm_head"),
        ({"trainable_token_indices": [3]}, "trained tokens"),
        ({"target_parameters": ["experts.up"]}, "trained parameters that are no layer"),
        ({"layer_replication": [[0, 2]]}, "repeated blocks"),
        ({"alora_invocation_tokens": [3, 4]}, "activation by a phrase (aLoRA)"),
        ({"use_bdlora": {"nblocks": 2}}, "blocks of its own (BD-LoRA)"),
        ({"use_qalora": True}, "QA-LoRA"),
    ],
)
def test_what_vllm_lacks_is_known_before_it_sees_the_adapter(tmp_path: Path, config: dict[str, Any], said: str) -> None:
    assert load_adapter(written(tmp_path, config)).unserved == (said,)


@pytest.mark.parametrize("first", [True, "gaussian", "eva", "orthogonal"])
def test_how_the_first_weights_were_drawn_does_not_matter_where_the_base_stays(tmp_path: Path, first: object) -> None:
    assert load_adapter(written(tmp_path, {"init_lora_weights": first})).unserved == ()


def test_the_name_changes_with_weights_and_with_configuration(tmp_path: Path) -> None:
    names = {
        written(tmp_path / "a").name,
        written(tmp_path / "b", weights=b"others").name,
        written(tmp_path / "c", {"r": 4}).name,
        written(tmp_path / "d").name,
    }
    assert len(names) == 3


def remove_weights(path: Path) -> None:
    (path / "adapter_model.safetensors").unlink()


def cut_weights(path: Path) -> None:
    (path / "adapter_model.safetensors").write_bytes(b"wei")


def change_config(path: Path) -> None:
    (path / "adapter_config.json").write_text(json.dumps({**CONFIG, "r": 4}))


def remove_config(path: Path) -> None:
    (path / "adapter_config.json").unlink()


def remove_manifest(path: Path) -> None:
    (path / "manifest.json").unlink()


def tear_manifest(path: Path) -> None:
    (path / "manifest.json").write_text('{"name": "ra')


def put_a_foreign_manifest(path: Path) -> None:
    write_manifest(path, {"artist": "somebody"})


def rename_in_manifest(path: Path) -> None:
    manifest = json.loads((path / "manifest.json").read_text())
    write_manifest(path, {**manifest, "name": "raft@00000000"})


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (remove_weights, "damaged: adapter_model.safetensors"),
        (cut_weights, "damaged: adapter_model.safetensors"),
        (change_config, "damaged: adapter_config.json"),
        (remove_config, "no adapter of this program"),
        (remove_manifest, "is not complete"),
        (tear_manifest, "cannot read manifest.json"),
        (put_a_foreign_manifest, "name: Field required"),
        (rename_in_manifest, "does not hold the weights of its name"),
    ],
)
def test_a_torn_or_foreign_directory_is_refused(tmp_path: Path, damage: Any, fault: str) -> None:
    path = written(tmp_path)
    damage(path)
    with pytest.raises((TuningError, StorageError), match=fault):
        load_adapter(path)


def test_an_adapter_is_found_by_its_recipe_and_name(tmp_path: Path) -> None:
    path = written(tmp_path)
    found = find_adapter(tmp_path, "raft", "recipe")
    assert found is not None
    assert found.path == path
    assert find_adapter(tmp_path, "raf", "recipe") is None
    assert find_adapter(tmp_path, "raft", "another") is None
    assert find_adapter(tmp_path / "gone", "raft", "recipe") is None


def test_a_half_written_directory_is_not_found(tmp_path: Path) -> None:
    whole = written(tmp_path)
    remove_manifest(shutil.copytree(whole, tmp_path / "raft@00000000"))
    found = find_adapter(tmp_path, "raft", "recipe")
    assert found is not None
    assert found.path == whole
    remove_manifest(whole)
    assert find_adapter(tmp_path, "raft", "recipe") is None


def test_a_damaged_adapter_is_not_silently_trained_again(tmp_path: Path) -> None:
    cut_weights(written(tmp_path))
    with pytest.raises(TuningError, match="damaged"):
        find_adapter(tmp_path, "raft", "recipe")


def test_an_adapter_is_opened_by_its_name_or_a_beginning_that_only_it_has(tmp_path: Path) -> None:
    path = written(tmp_path)
    other = written(tmp_path, weights=b"others")
    half_written = shutil.copytree(path, tmp_path / "style@00000000")
    remove_manifest(half_written)
    assert open_adapter(tmp_path, path.name).path == path
    assert open_adapter(tmp_path, other.name[:-2]).path == other
    for name, said in (
        ("raft", f"'raft' may be {', '.join(sorted((path.name, other.name)))}; give the full name"),
        ("style", "no adapter 'style' here; there is raft@"),
        ("../raft@", "no adapter '../raft@' here"),
    ):
        with pytest.raises(TuningError) as caught:
            open_adapter(tmp_path, name)
        assert str(caught.value).startswith(said)
    shutil.rmtree(other)
    assert open_adapter(tmp_path, "raft").path == path
    with pytest.raises(TuningError, match="no adapter 'raft' here; there is none"):
        open_adapter(tmp_path / "gone", "raft")


@pytest.mark.parametrize("form", ["lora", "merged"])
def test_the_card_is_no_part_of_the_content(form: str, tmp_path: Path) -> None:
    path = tmp_path / "raft"
    path.mkdir()
    names = ("adapter_config.json", "adapter_model.safetensors") if form == "lora" else ("config.json", "model.bin")
    for name in names:
        (path / name).write_text(name)
    before = adapter_hash(path)
    (path / "README.md").write_text("# one")
    assert adapter_hash(path) == before
    (path / names[0]).write_text("changed")
    assert adapter_hash(path) != before


def test_a_card_that_was_written_anew_leaves_the_adapter_as_it_is(tmp_path: Path) -> None:
    path = written(tmp_path)
    before = load_adapter(path)
    (path / "README.md").write_text("# another")
    assert load_adapter(path) == before
