"""From config values to live parts: models, indexes, training rows, arms, engine. Only here names become objects."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from pathlib import Path

from arbiter.config.schema import Config
from arbiter.config.sections import ArmConfig, EmbeddingConfig
from arbiter.console import Console
from arbiter.data import Data
from arbiter.home import database_setting
from arbiter.models import PACKAGES, resolve_model
from rag.chunking.chunk import ChunkSettings
from rag.embedding.embedder import Embedder, SentenceTransformerEmbedder
from rag.home import IndexHome
from rag.index import Index
from rag.langchain.factory import identity
from rag.passage import Passage
from rag.search.settings import SearchSettings
from router.answering.arm import Arm
from router.answering.condense import Condense, query_without_engine
from serving.engine import engine as engines
from storage.errors import ArbiterError
from storage.hashes import content_hash
from storage.settings import part
from tuning.base import ResolvedModel
from tuning.data.examples import Question
from tuning.data.formats.given import Message
from tuning.data.rows import TrainingRow, closed_book_rows, raft_rows
from tuning.errors import TuningError
from tuning.export.adapters import Adapter, open_adapter
from tuning.methods.registry import METHODS
from tuning.objectives.drawn import reward_of
from tuning.objectives.registry import OBJECTIVES
from tuning.recipe import Recipe

# Distractors come from further down the ranking than what an arm will see, so that a row can always be filled.
_CONTEXT_DEPTH = 4


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
    return f"{data.name}-examples-{content_hash(*(example.content for example in data.examples))[:8]}"


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


def arms_of(config: Config, adapter: str) -> list[ArmConfig]:
    """The arms that answer with an adapter, or with one that learns by its rewards; mixtures last, since no training
    row holds proposals.
    """
    learning = {adapter, *(name for name, recipe in config.adapters.items() if reward_of(recipe.objective) == adapter)}
    found = [arm for arm in config.arms.values() if arm.adapter in learning]
    return sorted(found, key=lambda arm: bool(arm.proposers))


def has_adapters(config: Config) -> bool:
    """Whether some arm answers with an adapter, trained here or not."""
    return any(arm.adapter is not None for arm in config.arms.values())


def named_adapters(config: Config, home: Path) -> dict[str, Adapter]:
    """The adapters that arms name in full: they are there, and nothing is trained. Raises TuningError for one that is
    not, or is damaged.
    """
    names = [arm.adapter for arm in config.arms.values() if arm.adapter and arm.adapter not in config.adapters]
    found = {name: open_adapter(home / "adapters", name) for name in names}
    for name, adapter in found.items():
        if adapter.name != name:
            raise TuningError(f"{name!r} is the beginning of a name; an arm names its adapter in full: {adapter.name}")
        if adapter.objective in OBJECTIVES and not OBJECTIVES[adapter.objective].gives_answers:
            raise TuningError(f"{name!r} was taught what answers are worth, and gives none; take it out of the arms")
    return found


def training_rows(
    config: Config, adapter: str, examples: Sequence[Question], documents: Index | None
) -> list[TrainingRow]:
    """One row an example for the adapter of this key: closed-book, or RAFT with passages of `documents`.

    The prompt is that of the adapter's first arm, and passages are retrieved as for its first arm that shows documents:
    the words and the passages that the arm is served with.
    """
    spec = config.adapters[adapter]
    arms = arms_of(config, adapter)
    prompt = config.all_prompts[arms[0].prompt]
    if not spec.passages:
        return closed_book_rows(examples, prompt.render)
    assert documents is not None, "RAFT adapters bring the documents role with them"
    own = next((arm for arm in arms if arm.index == "documents"), None)
    retrieval, depth = (own and own.retrieval) or config.index.retrieval, spec.passages + _CONTEXT_DEPTH
    condense = own.condense if own is not None else "recent"
    return raft_rows(
        examples,
        [_context(example, documents, depth, retrieval, condense) for example in examples],
        _is_golden,
        prompt.render,
        num_passages=spec.passages,
        golden_fraction=spec.golden_fraction,
        seed=config.seed,
    )


def check_rows(
    config: Config, adapter: str, questions: Sequence[Question], documents: Index | None
) -> list[TrainingRow]:
    """One row for each question that the training of this adapter is looked at with, as its first arm would ask it."""
    prompts = prompts_of(config, adapter, [question.messages for question in questions], documents)
    return [TrainingRow(prompt, question.answer) for prompt, question in zip(prompts, questions, strict=True)]


def prompts_of(
    config: Config, adapter: str, conversations: Sequence[Sequence[Message]], documents: Index | None
) -> list[tuple[Message, ...]]:
    """Conversations as the first arm of this adapter would ask them: of one with passages with what retrieval finds,
    golden or not.
    """
    spec = config.adapters[adapter]
    arms = arms_of(config, adapter)
    prompt = config.all_prompts[arms[0].prompt]
    if not spec.passages:
        return [tuple(prompt.render(messages, ())) for messages in conversations]
    assert documents is not None, "adapters with passages bring the documents role with them"
    own = next((arm for arm in arms if arm.index == "documents"), None)
    top_k = (own and own.top_k) or config.index.top_k
    retrieval = (own and own.retrieval) or config.index.retrieval
    condense = own.condense if own is not None else "recent"
    queries = (query_without_engine(messages, condense) for messages in conversations)
    found = (documents.search(query, top_k, settings=retrieval) for query in queries)
    return [tuple(prompt.render(messages, passages)) for messages, passages in zip(conversations, found, strict=True)]


def training_notes(config: Config, adapters: Mapping[str, Adapter]) -> list[str]:
    """A line for each adapter that was not trained on all of its rows, and for each whose training ended early."""
    ended = [f"the training of {name} ended early: {one.ended}" for name, one in adapters.items() if one.ended]
    return ended + [
        f"{adapter.num_dropped} of {adapter.num_rows + adapter.num_dropped} rows were left out of the training of "
        f"{name}: they are longer than adapters.{name}.max_length ({config.adapters[name].max_length} tokens)"
        for name, adapter in adapters.items()
        if adapter.num_dropped and name in config.adapters
    ]


def build_arms(config: Config, data: Data, adapters: Mapping[str, Adapter], *, max_tokens: int) -> list[Arm]:
    """The config's arms with the names of what was trained and indexed, and `max_tokens` where none are said.

    Raises ArbiterError for a mixture of agents that needs more engines than may run.
    """

    def build(name: str) -> Arm:
        arm = config.arms[name]
        default_k = config.index.example_top_k if arm.index == "examples" else config.index.top_k
        sampling = arm.sampling or config.sampling
        is_set = arm.adapter is not None and adapters[arm.adapter].topics is not None
        return Arm(
            name=name,
            adapter=adapters[arm.adapter].name if arm.adapter else None,
            index=index_name(data, arm.index) if arm.index else None,
            prompt=config.all_prompts[arm.prompt],
            top_k=(arm.top_k or default_k) if arm.index else 0,
            sampling=replace(sampling, max_tokens=sampling.max_tokens or max_tokens),
            retrieval=(arm.retrieval or config.index.retrieval) if arm.index else SearchSettings(),
            condense=arm.condense if arm.index or is_set else "last",
            proposers=tuple(map(build, arm.proposers)),
        )

    arms = [build(name) for name in config.arms]
    if config.engine.url is None:
        _check_engines(arms, adapters.values(), config.engine.max_own_engines)
    return arms


def _check_engines(arms: Iterable[Arm], adapters: Iterable[Adapter], most: int) -> None:
    """What one answer needs must be able to run at a time, or its engines would end each other."""
    alone = {adapter.name for adapter in adapters if adapter.has_own_engine}
    for arm in arms:
        own = [name for name in arm.adapters if name in alone]
        if arm.proposers and len(own) > most:
            raise ArbiterError(
                f"arm {arm.name!r} needs {len(own)} engines beside vLLM at a time ({', '.join(own)}), and "
                f"engine.max_own_engines is {most}; raise it, or leave out some of its proposers"
            )


def provenance(
    config: Config, data: Data, base: ResolvedModel, embedder: ResolvedModel, adapters: Iterable[Adapter]
) -> dict[str, object]:
    """What a reader needs to reproduce a run: versions, hashes, seed, machine, and how the adapters were made."""
    return {
        "arbiter": importlib.metadata.version("arbiter"),
        "data": data.version,
        "model": base.label,
        "embedder": embedder.label,
        "engine": engines.engine_identity(config.engine),
        "seed": config.seed,
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "adapters": {
            adapter.name: {
                "method": adapter.method,
                "objective": adapter.objective,
                "form": adapter.form,
                "num_bytes": adapter.num_bytes,
                "num_rows": adapter.num_rows,
                "training_s": adapter.training_s,
                "parity": asdict(adapter.parity) if adapter.parity is not None else None,
                "preference": asdict(adapter.preference) if adapter.preference is not None else None,
                "compression": asdict(adapter.compression) if adapter.compression is not None else None,
            }
            for adapter in adapters
        },
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
    config: Config,
    base: ResolvedModel,
    adapters: Mapping[str, Adapter],
    *,
    home: Path,
    console: Console,
    own_engines: int | None = None,
) -> AbstractContextManager[engines.OpenEngine]:
    """The config's engine while the block lasts, of a set with its members; see serving/engine/engine.py."""
    adapters = {part.name: part for adapter in adapters.values() for part in adapter.parts}
    ranks = [adapter.rank for adapter in adapters.values()]  # many rows make it higher than the config says
    return engines.open_engine(
        replace(config.engine, max_lora_rank=config.engine.max_lora_rank or max([config.lora_rank, *ranks])),
        base,
        adapters,
        log_path=home / "logs" / f"engine-{os.getpid()}.log",
        max_num_seqs=max(config.eval.concurrency, 16),
        forms={METHODS[recipe.method].form for recipe in used_adapters(config).values()},
        own_engines=own_engines,
        step=console.step,
    )


def _context(
    example: Question, documents: Index, depth: int, retrieval: SearchSettings, condense: Condense
) -> tuple[Passage, ...]:
    """Passages for one training row: what retrieval finds, led by the golden passage where retrieval missed it."""
    found = documents.search(query_without_engine(example.messages, condense), depth, settings=retrieval)
    if any(_is_golden(example, passage) for passage in found):
        return found
    chunks = [chunk for name in example.document_ids for chunk in documents.chunks_of(name)]
    missed = next((chunk for chunk in chunks if _holds(chunk.text, example.answer)), None)
    if missed is None:
        return found
    golden = documents.passage_of(missed, settings=retrieval)
    return (golden, *(passage for passage in found if passage.chunk_id != golden.chunk_id))


def _is_golden(example: Question, passage: Passage) -> bool:
    # A long document has chunks that do not hold the answer; training on those would teach to guess.
    return passage.document_id in example.document_ids and _holds(passage.text, example.answer)


def _holds(text: str, answer: str) -> bool:
    return answer.lower() in text.lower()
