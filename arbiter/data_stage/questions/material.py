"""The documents that questions are made from, in passages, and what of them a data folder holds.

material = read_documents(Path("docs/"), config, home=home, console=console)
material = read_index("handbook", config, home=home, console=console)
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from arbiter import build
from arbiter.config.schema import Config
from arbiter.console import Console
from arbiter.data import DOCUMENTS, find_documents, find_folder
from eval.generated import REVIEW
from rag.chunking.chunk import Chunk, ChunkSettings
from rag.chunking.split import split_documents
from rag.documents.load import load_documents
from rag.documents.sources import KINDS
from storage.errors import ArbiterError
from storage.records import json_lines
from storage.settings import part
from tuning.data.layouts import Part, find_part, only_rows, rows_not_read

_PARTS: tuple[Part, ...] = ("test", "train", "questions")
_ALL_PARTS: tuple[Part, ...] = (*_PARTS, "dev", "guard", "pairs")


@dataclass(frozen=True, slots=True)
class Material:
    """Passages, and the files that make a data folder of their documents, by their paths in it: to copy, or as text.
    `where` is the file or folder that the documents lie in, None for those of an index.
    """

    chunks: tuple[Chunk, ...]
    num_documents: int
    copies: Mapping[str, Path]
    texts: Mapping[str, str]
    where: Path | None = None


def read_documents(source: Path, config: Config, *, home: Path, console: Console) -> Material:
    """The documents of a folder, a file or a data folder that has no questions yet.

    Raises ArbiterError where it has questions, and RagError where it holds no documents.
    """
    source = source.expanduser().resolve()
    where = _documents_of(source) if source.is_dir() else source
    with (
        closing(build.index_home(config, home).conversions()) as cache,
        console.step(f"reading {where.name}") as step,
    ):
        loaded = load_documents(where, cache=cache, progress=step.update)
    for skipped in loaded.skipped:
        console.say(f"skipped {skipped.path}: {skipped.reason}")
    embedder = build.build_embedder(build.resolve_embedder(config, home, console.say), config.embedding)
    with console.step(f"cutting {len(loaded.documents)} documents into passages"):
        chunks = split_documents(loaded.documents, part(config.index, ChunkSettings), embedder.token_spans)
    return Material(tuple(chunks), len(loaded.documents), _copies(where), {}, where)


def read_index(name: str, config: Config, *, home: Path, console: Console) -> Material:
    """The documents and passages of an index. Raises RagError where there is none of the name, or it is empty."""
    embedder = build.build_embedder(build.resolve_embedder(config, home, console.say), config.embedding)
    with closing(build.index_home(config, home).open(name, embedder)) as index:
        rows = list(index.export())
        chunks = tuple(chunk for row in rows for chunk in index.chunks_of(str(row["id"])))
    if not chunks:
        raise ArbiterError(f"index {name!r} holds no documents; add some: arbiter index add {name} FOLDER")
    return Material(chunks, len(rows), {}, {"docs.jsonl": json_lines(rows)})


def link_documents(folder: Path, where: Path) -> None:
    """Documents that stay where they are as those of a data folder; they are followed when they change."""
    link = folder / (f"docs{where.suffix.lower()}" if where.is_file() else "docs")
    if not link.is_symlink():
        link.symlink_to(where, target_is_directory=where.is_dir())


def is_bare(folder: Path) -> bool:
    """Whether a folder holds documents and nothing else: no part of a data folder, no rows, no other files."""
    folder = folder.expanduser()
    try:
        entries = [path for path in folder.iterdir() if not path.name.startswith(".")]
        files = [path for path in entries if path.is_file()]
        if find_documents(folder) is not None or (folder / REVIEW).exists() or only_rows(folder) is not None:
            return False
        if any(find_part(folder, name) is not None for name in _ALL_PARTS) or rows_not_read(folder, ()):
            return False
    except (ArbiterError, OSError):  # what is wrong with it is for the command to say
        return False
    deeper = [path.suffix.lower() for one in entries if one.is_dir() for path in one.rglob("*") if path.is_file()]
    # Rows further down are those of data folders, of which this one holds some.
    if any(path.suffix.lower() not in KINDS for path in files) or ".jsonl" in deeper:
        return False
    return bool(files) or not set(KINDS).isdisjoint(deeper)


def _documents_of(folder: Path) -> Path:
    folder = find_folder(folder)
    for name in _PARTS:
        if not (folder / REVIEW).is_file() and (there := find_part(folder, name)) is not None:
            raise ArbiterError(
                f"data folder {str(folder)!r} has questions in {there.name} already; give its documents alone, or take "
                "the file away"
            )
    return find_documents(folder) or folder


def _copies(where: Path) -> dict[str, Path]:
    """The files by their paths in a data folder, so that every document keeps its id."""
    if where.is_file():
        name = f"docs{where.suffix.lower()}"
        return {name if where.name in DOCUMENTS or name == "docs.zip" else f"docs/{where.name}": where}
    found = (path for path in sorted(where.rglob("*")) if path.is_file())
    named = ((path.relative_to(where), path) for path in found)
    return {f"docs/{name}": path for name, path in named if not any(one.startswith(".") for one in name.parts)}
