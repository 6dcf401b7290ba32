"""From config values to live parts: models, indexes, rows, arms, scorers. The only place where names become objects."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from arbiter.config import ArmConfig, Config, EmbeddingConfig
from arbiter.console import Console
from arbiter.data import Data
from arbiter.database import database_setting
from arbiter.models import resolve_model
from rag.chunking.chunk import ChunkSettings
from rag.embedding.embedder import Embedder, SentenceTransformerEmbedder
from rag.home import IndexHome
from rag.langchain.factory import identity
from rag.search.settings import SearchSettings
from router.answering.arm import Arm
from router.answering.prompts import BUILT_IN, Prompt
from serving.engine import engine as engines
from storage.hashes import content_hash
from storage.settings import part
from tuning.base import ResolvedModel
from tuning.export.adapters import Adapter
from tuning.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Models:
    """The base model and the embedder, resolved to folders."""

    base: ResolvedModel
    embedder: ResolvedModel


def prompts_of(config: Config) -> dict[str, Prompt]:
    """Built-in prompts and the config's own, by name."""
    return {**BUILT_IN, **config.prompts}


def resolve_embedder(
    config: Config, home: Path, progress: Callable[[str], None], *, fetch: bool = True
) -> ResolvedModel:
    """The embedder on this disk, or LangChain's under the name of its factory; `fetch` as in `resolve_model`."""
    other = config.embedding.langchain
    if other is not None:
        return ResolvedModel(other.factory, identity(other.factory, other.options), path="")
    return resolve_model(config.embedder, home=home, revision=config.embedder_revision, progress=progress, fetch=fetch)


def build_embedder(model: ResolvedModel, config: EmbeddingConfig) -> Embedder:
    """The embedder; its name carries the revision, so vectors of another one are never compared with."""
    name = f"{model.name}@{model.revision}"
    if config.langchain is not None:
        from rag.langchain.embeddings import open_embedder

        return open_embedder(config.langchain.factory, config.langchain.options, name=name)
    return SentenceTransformerEmbedder(model.path, config, name=name)


def index_name(data: Data, role: str) -> str:
    """The index of a role: one for the documents, which follows them, and one for each set of example rows."""
    if role == "documents":
        return data.name
    return f"{data.name}-examples-{content_hash(*(repr(example) for example in data.examples))[:8]}"


def index_roles(config: Config) -> list[str]:
    """The roles some arm or adapter retrieves from, documents first."""
    roles = {arm.index for arm in config.arms.values() if arm.index is not None}
    if any(adapter.passages for adapter in used_adapters(config).values()):
        roles.add("documents")
    return sorted(roles)


def used_adapters(config: Config) -> dict[str, Recipe]:
    """The adapters that some arm answers with; others are not trained."""
    used = {arm.adapter for arm in config.arms.values()}
    return {name: adapter for name, adapter in config.adapters.items() if name in used}


def retrieval_of_arm(arm: ArmConfig, config: Config) -> SearchSettings:
    """How passages are ranked for the arm: its own way, or the index's."""
    return arm.retrieval or config.index.retrieval


def build_arms(config: Config, data: Data, adapters: Mapping[str, Adapter]) -> list[Arm]:
    """The config's arms with the names of what was trained and indexed."""
    prompts = prompts_of(config)
    return [_arm(name, arm, config, data, adapters, prompts[arm.prompt]) for name, arm in config.arms.items()]


def provenance(config: Config, data: Data, models: Models, engine: str) -> dict[str, object]:
    """What a reader needs to reproduce a run: versions, hashes, seed, machine."""
    packages = ("torch", "transformers", "peft", "trl", "sentence-transformers", "faiss-cpu", "ragas", "langchain")
    return {
        "arbiter": importlib.metadata.version("arbiter"),
        "data": data.version,
        "model": f"{models.base.name} {models.base.revision}",
        "embedder": f"{models.embedder.name} {models.embedder.revision}",
        "engine": engine,
        "seed": config.seed,
        "packages": {name: importlib.metadata.version(name) for name in packages},
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def index_home(config: Config, home: Path) -> IndexHome:
    """What the config says of indexes."""
    index = config.index
    return IndexHome(
        home=home,
        url=index.database.get_secret_value() if index.database is not None else database_setting(),
        chunking=part(index, ChunkSettings),
        retrieval=index.retrieval,
        store=index.store.factory if index.store is not None else "",
        store_options=index.store.options if index.store is not None else {},
    )


def open_engine(
    config: Config, base: ResolvedModel, adapters: Mapping[str, Adapter], *, home: Path, console: Console
) -> AbstractContextManager[engines.OpenEngine]:
    """The config's engine while the block lasts; see serving/engine/engine.py."""
    return engines.open_engine(
        config.engine,
        base,
        adapters,
        log_path=home / "logs" / f"engine-{os.getpid()}.log",
        max_num_seqs=max(config.eval.concurrency, 16),
        step=console.step,
    )


def home_of(home: Path, part: str) -> Path:
    """One of the data directory's folders: models, indexes, adapters, runs, training."""
    folder = home / part
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _arm(name: str, arm: ArmConfig, config: Config, data: Data, adapters: Mapping[str, Adapter], prompt: Prompt) -> Arm:
    default_k = config.index.example_top_k if arm.index == "examples" else config.index.top_k
    return Arm(
        name=name,
        adapter=adapters[arm.adapter].name if arm.adapter else None,
        index=index_name(data, arm.index) if arm.index else None,
        prompt=prompt,
        top_k=(arm.top_k or default_k) if arm.index else 0,
        sampling=arm.sampling or config.sampling,
        retrieval=retrieval_of_arm(arm, config) if arm.index else SearchSettings(),
        condense=arm.condense if arm.index else "last",
    )
