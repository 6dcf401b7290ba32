"""The rows an adapter is trained on, in the words and with the passages that its arm is served with.

rows = training_rows(config, "raft", data.examples, documents)
"""

from __future__ import annotations

from collections.abc import Sequence

from arbiter.build import prompts_of, retrieval_of_arm
from arbiter.config import Config
from rag.index import Index
from rag.passage import Passage
from rag.search.settings import SearchSettings
from tuning.data.examples import Example
from tuning.data.rows import TrainingRow, closed_book_rows, raft_rows

# Distractors come from further down the ranking than what an arm will see, so that a row can always be filled.
_CONTEXT_DEPTH = 4


def training_rows(
    config: Config, adapter: str, examples: Sequence[Example], documents: Index | None
) -> list[TrainingRow]:
    """One row an example for the adapter of this key: closed-book, or RAFT with passages of `documents`.

    The prompt is that of the adapter's first arm, and passages are retrieved as for its first arm that shows documents.
    """
    spec = config.adapters[adapter]
    arms = [arm for arm in config.arms.values() if arm.adapter == adapter]
    prompt = prompts_of(config)[arms[0].prompt]
    if not spec.passages:
        return closed_book_rows(examples, prompt.ask)
    assert documents is not None, "RAFT adapters bring the documents role with them"
    with_documents = (retrieval_of_arm(arm, config) for arm in arms if arm.index == "documents")
    retrieval = next(with_documents, None) or config.index.retrieval
    depth = spec.passages + _CONTEXT_DEPTH
    contexts = [_context(example, documents, depth, retrieval) for example in examples]
    return raft_rows(
        examples,
        contexts,
        _is_golden,
        prompt.ask,
        num_passages=spec.passages,
        golden_fraction=spec.golden_fraction,
        seed=config.seed,
    )


def _context(example: Example, documents: Index, depth: int, retrieval: SearchSettings) -> tuple[Passage, ...]:
    """Passages for one training row: what retrieval finds, led by the golden passage where retrieval missed it."""
    found = documents.search(example.question, depth, settings=retrieval)
    if any(_is_golden(example, passage) for passage in found):
        return found
    chunks = [chunk for name in example.document_ids for chunk in documents.chunks_of(name)]
    missed = next((chunk for chunk in chunks if _holds(chunk.text, example.answer)), None)
    if missed is None:
        return found
    golden = documents.passage_of(missed, settings=retrieval)
    return (golden, *(passage for passage in found if passage.chunk_id != golden.chunk_id))


def _is_golden(example: Example, passage: Passage) -> bool:
    # A long document has chunks that do not hold the answer; training on those would teach to guess.
    return passage.document_id in example.document_ids and _holds(passage.text, example.answer)


def _holds(text: str, answer: str) -> bool:
    return answer.lower() in text.lower()
