"""Texts that came with questions, as documents: what SQuAD's and DeepEval's rows bring along.

placed = place_contexts(documents, contexts)
placed.documents, placed.renamed(questions)
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from eval.questions import Question
from rag.documents.document import Document
from tuning.data.formats.given import Context


@dataclass(frozen=True, slots=True)
class Placed:
    """All documents, and a note where some came with rows. `ids` are the names of documents that hold the text of a
    context, by the name of that.
    """

    documents: tuple[Document, ...]
    ids: Mapping[str, str]
    notes: tuple[str, ...] = ()

    def renamed(self, questions: Sequence[Question]) -> tuple[Question, ...]:
        """The questions with the names of the documents that are there, and without the texts."""
        return tuple(
            replace(
                row,
                document_ids=tuple(dict.fromkeys(self.ids.get(name, name) for name in row.document_ids)),
                contexts=(),
            )
            for row in questions
        )


def place_contexts(documents: Sequence[Document], contexts: Iterable[Context]) -> Placed:
    """The documents and, after them, every context that is none of them, blanks aside."""
    known = {_plain(document.text): document.id for document in documents}
    every = {context.id: context for context in contexts}
    ids = {name: known[text] for name, context in every.items() if (text := _plain(context.text)) in known}
    new = [Document(name, one.title, one.text, {}) for name, one in every.items() if name not in ids]
    held = f", {len(ids)} of them in a document that is there" if ids else ""
    note = f"{len(every)} texts that came with rows are documents{held}"
    return Placed((*documents, *new), ids, (note,) if every else ())


def _plain(text: str) -> str:
    return " ".join(text.split())
