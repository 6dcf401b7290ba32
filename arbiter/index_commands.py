"""What `arbiter index` does: indexes by name, outside of any run.

commands = open_index_commands(None, home=data_home(), console=Console())
text, row = commands.add("faq", [Path("docs/")])
text, row = commands.search("faq", "When does the loan desk open?", 5)

Every function gives its result as text and as JSON-ready values.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any, TextIO

from arbiter import build
from arbiter.build import index_home
from arbiter.config.loading import load_config
from arbiter.console import Console, Output, pad_table
from rag.chunking.chunk import ChunkSettings, warn_long
from rag.documents.load import Loaded, load_documents
from rag.embedding.embedder import Embedder, NamedEmbedder
from rag.errors import RagError
from rag.home import IndexHome
from rag.index import Index, SyncReport, VerifyReport
from rag.indexing import Overtaken
from rag.origins import gone_from, unreadable_now, with_own_ids
from rag.passage import Passage
from rag.search.filters import parse_filter
from rag.search.settings import SearchSettings
from storage.errors import ArbiterError
from storage.files import replace_file

_SHOWN = 20
_SNIPPET_CHARS = 160


def open_index_commands(config: Path | None, *, home: Path, console: Console) -> IndexCommands:
    """The indexes of the data directory as a config, or the defaults, would use them; loads no model."""
    loaded = load_config(config)

    def embedder() -> Embedder:
        model = build.resolve_embedder(loaded, home, console.say)
        return build.build_embedder(model, loaded.embedding)

    return IndexCommands(index_home(loaded, home), console, make_embedder=embedder)


@dataclass(eq=False)
class IndexCommands:
    """The indexes of one data directory or database. `make_embedder` is called when a command cannot do without."""

    index_home: IndexHome
    console: Console
    make_embedder: Callable[[], Embedder]

    @cached_property
    def embedder(self) -> Embedder:
        """The embedder, found on this disk; loads its weights when it first embeds."""
        return self.make_embedder()

    def add(
        self,
        name: str,
        paths: Sequence[Path],
        chunking: Mapping[str, Any] = MappingProxyType({}),
        *,
        is_whole: bool = False,
    ) -> tuple[str, dict[str, Any]]:
        """Stores the documents of the paths, each by the path it came from.

        `chunking` are chunk settings by name, in place of those that the index has or would have. `is_whole` takes away
        what a path had before and has no more; what it has and cannot be read now stays as it was.

        What cannot be read is said and the rest goes on. Raises RagError or ArbiterError when no path can be read, when
        another embedder built the index, and when chunks are asked for in another size than the index has.
        """
        index = self._writable(name, chunking, may_rebuild=is_whole)
        rows: list[dict[str, object]] = []
        faults: list[str] = []
        with contextlib.closing(index), contextlib.closing(self.index_home.conversions()) as cache:
            for path in paths:
                origin = str(path.expanduser().resolve())
                try:
                    with self.console.step(f"reading {path}") as step:
                        loaded = load_documents(path, cache=cache, progress=step.update)
                except RagError as error:
                    faults.append(str(error))
                    if len(paths) > 1:  # One alone is the command's own error.
                        self.console.say(f"skipped {path}: {error}")
                    if is_whole:
                        self._say_left(name, index, origin)
                    continue
                for skipped in loaded.skipped:
                    self.console.say(f"skipped {skipped.path}: {skipped.reason}")
                report, kept = self._store(index, loaded, origin, is_whole)
                if report.embedded_chunks and (warning := warn_long(index.chunk_settings, self.embedder.max_tokens)):
                    self.console.say(f"note: {warning}")
                skips = [asdict(skipped) for skipped in loaded.skipped]
                rows.append({"path": origin, **asdict(report), "skipped": skips, "kept": kept})
                self.console.say(
                    f"  {path}: {report.added} added, {report.updated} updated, {report.removed} removed, "
                    f"{report.unchanged} unchanged, {report.embedded_chunks} chunks embedded in "
                    f"{report.seconds:.1f} s, {len(loaded.skipped)} skipped"
                )
            if not rows:
                raise ArbiterError(f"nothing was indexed: {'; '.join(faults)}")
            state = index.state
            held = {"documents": state.num_documents, "chunks": state.num_chunks}
        text = f"index {name}: {held['documents']} documents, {held['chunks']} chunks"
        return text, {"index": name, **held, "paths": rows, "unreadable": faults}

    def delete(self, name: str, document_ids: Sequence[str]) -> Output:
        """Takes documents out. Raises ArbiterError if the index has none of them."""
        with contextlib.closing(self._existing(name)) as index:
            unknown = [document_id for document_id in document_ids if index.document(document_id) is None]
            for document_id in unknown:
                self.console.say(f"skipped {document_id}: not in index {name}")
            if len(unknown) == len(document_ids):
                raise ArbiterError(f"index {name!r} has no such document; see: arbiter index list {name}")
            deleted = index.delete(document_ids)
            left = index.state.num_documents
        return (
            f"index {name}: {deleted} deleted, {left} documents left",
            {"index": name, "deleted": deleted, "unknown": unknown, "documents": left},
        )

    def drop(self, name: str) -> Output:
        """Takes the whole index away."""
        with contextlib.closing(self._existing(name)) as index:
            num_documents = index.state.num_documents
            index.drop()
        return f"index {name} is gone", {"index": name, "deleted": num_documents, "documents": 0}

    def show(self, name: str | None) -> Output:
        """Every index, or every document of one."""
        if name is not None:
            with contextlib.closing(self._existing(name)) as index:
                entries = index.documents(limit=None)
            rows = [[e.id, e.title, str(e.num_chunks), str(e.num_chars), e.origin] for e in entries]
            text = pad_table(["document", "title", "chunks", "characters", "from"], rows)
            return text, {"index": name, "documents": [asdict(entry) for entry in entries]}
        states = self.index_home.states().values()
        if not states:
            return "no index; make one with: arbiter index add NAME FOLDER", {"indexes": []}
        lines = [[s.name, str(s.num_documents), str(s.num_chunks), _chunks_of(s.settings), s.embedder] for s in states]
        found = [
            {
                "name": s.name,
                "documents": s.num_documents,
                "chunks": s.num_chunks,
                "embedder": s.embedder,
                "chunking": asdict(s.settings),
                "generation": s.generation,
                "version": s.version,
            }
            for s in states
        ]
        return pad_table(["index", "documents", "chunks", "chunking", "embedder"], lines), {"indexes": found}

    def search(
        self, name: str, query: str, k: int, settings: SearchSettings | None = None, filters: object = None
    ) -> Output:
        """The k best passages. `filters` is a filter in OpenAI's form as JSON gives it."""
        chosen = settings or self.index_home.retrieval
        parsed = parse_filter(filters) if filters is not None else None
        if not query.strip():
            raise ArbiterError(f"the query is empty: {query!r}; give a question or words")
        with contextlib.closing(self.searchable(name)) as index:
            passages = index.search(query, k, settings=chosen, filters=parsed)
        lines = []
        for passage in passages:
            named = (passage.source or passage.document_id, _pages_of(passage), " > ".join(passage.headings))
            place = ", ".join(filter(None, named))
            snippet = " ".join(passage.text.split())[:_SNIPPET_CHARS]
            lines.append(f"{passage.rank}. {passage.score:.3f}  {passage.title}  ({place})\n   {snippet}")
        found = [asdict(passage) for passage in passages]
        row = {"index": name, "query": query, "settings": asdict(chosen), "passages": found}
        return "\n".join(lines) or "nothing found", row

    def verify(self, name: str | None, *, is_repaired: bool = False) -> tuple[str, object, bool]:
        """Checks one index or all, and mends what can be; the third value says whether all are sound now."""
        names = [name] if name is not None else sorted(self.index_home.states())
        reports: list[VerifyReport] = []
        for one in names:
            with contextlib.closing(self._existing(one)) as index, self.console.step(f"verifying {one}") as step:
                reports.append(index.verify(repair=is_repaired, progress=step.update))
        if name is None and is_repaired:
            self.index_home.remove_leftovers()
        lines = []
        for report in reports:
            state = "sound" if not report.problems else "repaired" if report.repaired else "NOT sound"
            lines.append(f"{report.name}: {state}, {report.num_documents} documents, {report.num_chunks} chunks")
            lines += [f"  {problem}" for problem in report.problems]
            lines += _duplicates_of(report)
        is_sound = all(report.is_sound for report in reports)
        if not is_sound and not is_repaired:
            lines.append("mend it with: arbiter index verify --repair")
        row = {"sound": is_sound, "indexes": [asdict(report) for report in reports]}
        return "\n".join(lines) or "no index to verify", row, is_sound

    def export(self, name: str, file: Path | None, stdout: TextIO | None = None) -> Output | None:
        """Writes every document as a line of JSON, whole or not at all; without a file to standard output."""
        target = file.expanduser() if file is not None else None
        opened: contextlib.AbstractContextManager[TextIO] = contextlib.nullcontext(stdout or sys.stdout)
        if target is not None:
            opened = replace_file(target)
        with contextlib.closing(self._existing(name)) as index, opened as stream:
            is_unicode = (stream.encoding or "utf-8").lower() == "utf-8"
            written = [stream.write(json.dumps(row, ensure_ascii=not is_unicode) + "\n") for row in index.export()]
            stream.flush()
        if target is None:
            return None
        return f"{len(written)} documents: {target}", {"index": name, "documents": len(written), "file": str(target)}

    def searchable(self, name: str) -> Index:
        """The index, to be searched and closed by the caller. Raises ArbiterError if there is none, RagError if another
        embedder built it.
        """
        self.index_home.state(name)  # Before a model is looked for.
        return self.index_home.open(name, self.embedder)

    def _existing(self, name: str) -> Index:
        """For what needs no vectors: an index of any embedder will do."""
        built_with = NamedEmbedder(self.index_home.state(name).embedder, lambda: self.embedder)
        return self.index_home.open(name, built_with)

    def _writable(self, name: str, chunking: Mapping[str, Any], *, may_rebuild: bool) -> Index:
        """The index, new or as it is cut. An index of another embedder is embedded anew if that is what was asked."""
        if name not in self.index_home.states() and not may_rebuild:
            return self.index_home.create(name, self.embedder, replace(self.index_home.chunking, **chunking))
        settings = self.index_home.state(name).settings
        if replace(settings, **chunking) != settings:
            raise ArbiterError(
                f"index {name!r} is cut into {_chunks_of(settings)}; leave the chunk options out, "
                f"or take it away first with: arbiter index delete {name} --all"
            )
        if may_rebuild:
            return self.index_home.create(name, self.embedder, settings)
        return self.index_home.open(name, self.embedder)

    def _store(self, index: Index, loaded: Loaded, origin: str, is_whole: bool) -> tuple[SyncReport, list[str]]:
        """Stores what was read of a path; gives the ids too of what stays since it cannot be read now."""
        while True:
            entries = index.documents(limit=None) if index.state.generation else []
            given = with_own_ids(loaded, origin, entries)
            ids = {document.id for document in given}
            replaced = [entry for entry in entries if entry.id in ids and entry.origin not in (origin, "")]
            kept = unreadable_now(index, loaded, origin, given, entries) if is_whole else []
            write = index.sync if is_whole else index.add
            try:
                with self.console.step(f"indexing {len(given)} documents") as step:
                    report = write(
                        [*given, *(document for document, _ in kept)],
                        origin=origin,
                        replacing={e.id for e in replaced},
                        progress=step.update,
                    )
            except Overtaken as error:
                self.console.say(f"note: {error.args[0].split(';')[0]}; looking again")
                continue
            break
        # One file may be read by two paths, and rows bring ids of their own.
        for entry in replaced[:_SHOWN]:
            self.console.say(f"note: {entry.id} takes the place of that document in {index.name} from {entry.origin}")
        if len(replaced) > _SHOWN:
            self.console.say(f"note: {len(replaced) - _SHOWN} more documents of other paths are replaced")
        for document, place in kept:
            self.console.say(f"note: {document.id} stays as it was, since {place} cannot be read")
        if is_whole and (gone := gone_from(origin, given, entries)):
            index.delete(gone)
            self.console.say(f"note: {', '.join(gone[:_SHOWN])} went, as the files did, though added by another path")
            report = replace(report, removed=report.removed + len(gone), num_chunks=index.state.num_chunks)
        return report, [document.id for document, _ in kept]

    def _say_left(self, name: str, index: Index, origin: str) -> None:
        """A path that holds nothing now may be a disk that is not mounted: its documents stay, and that is said."""
        if not index.state.generation:
            return
        left = [entry.id for entry in index.documents(limit=None) if entry.origin == origin]
        if left:
            self.console.say(
                f"note: {len(left)} documents of {origin} stay in {name}; take those that are gone out with: "
                f"arbiter index delete {name} {shlex.quote(left[0])} ..."
            )


def _duplicates_of(report: VerifyReport) -> list[str]:
    """Near-duplicates are no fault, but a reader may want to know which they are."""
    if report.near_duplicates is None:
        return ["  note: chunks were not compared with each other"]
    if not report.near_duplicates:
        return []
    shown = [
        f"    {_place(found.document_id, found.page)} repeats {_place(found.of_document_id, found.of_page)}"
        for found in report.near_duplicates[:_SHOWN]
    ]
    left = len(report.near_duplicates) - len(shown)
    shown += [f"    {left} more with: arbiter index verify {report.name} --json"] if left else []
    return [f"  note: {len(report.near_duplicates)} chunks nearly repeat an earlier one:", *shown]


def _place(document_id: str, page: int | None) -> str:
    return document_id if page is None else f"{document_id} page {page}"


def _pages_of(passage: Passage) -> str:
    if passage.page is None:
        return ""
    last = passage.page_starts[-1][1] if passage.page_starts else passage.page
    return f"page {passage.page}" if last == passage.page else f"pages {passage.page} to {last}"


def _chunks_of(settings: ChunkSettings) -> str:
    return f"{settings.strategy}, {settings.chunk_tokens} tokens, {settings.overlap_tokens} overlap"
