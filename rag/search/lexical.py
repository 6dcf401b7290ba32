"""The words of an index, ranked by BM25: `LexicalView.build(numbers, texts).search("When does it open?", k=5)`.

A view never changes: `changed` gives a new one that shares what is the same, so that any number of threads may search
while another goes on. bm25s is imported here and nowhere else.

Of a text's words, `words_of("Rung bells")` gives rung, bells, ~rung, ~bell. Case is folded. Each word counts as it is
spelled and, marked, without its English ending: what is spelled alike weighs more than what only has the stem in
common. Scripts that put no spaces between words (Chinese, Japanese, Thai, ...) are counted by pairs of neighbouring
signs. No word is left out as too common: BM25 gives it little weight, and a question of nothing but common words still
finds something. docs/adr/0011 has the measurements.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag.search.numbers import NOTHING, Numbers, best, is_in, positions_of
from rag.search.view_file import read_view, write_view

# docs/adr/0011 has recall for these and other values.
_K1 = 1.2
_B = 0.5

# Python's \w knows letters, not the vowel signs and accents that follow them as characters of their own.
_MARKS = r"\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670\u0900-\u0963\u0966-\u0dff"
_UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
_RUN = re.compile(rf"[{_UNSPACED}\U00020000-\U0003ffff]+|(?:(?![{_UNSPACED}])[^\W_]|[{_MARKS}])+")
_IS_UNSPACED = re.compile(rf"[{_UNSPACED}\U00020000-\U0003ffff]")

# Longer runs are no words but data, of which the beginning is enough.
_MAX_WORD_CHARS = 64


@dataclass(frozen=True, slots=True, eq=False)
class LexicalView:
    """Texts by number. The main part is what `build` was given; what `changed` added lies beside it."""

    _numbers: Numbers
    _scores: Mapping[str, Any]
    """What bm25s makes of the main part: for each word the positions of its texts and its score in them."""

    _num_words: int
    """Words of the main part, counted as often as they stand there."""

    _vocabulary: Mapping[str, int]
    _removed: Numbers = field(default_factory=NOTHING.copy)
    """Positions in the main part, ascending, that are in the view no more."""

    _added_numbers: Numbers = field(default_factory=NOTHING.copy)
    _added_counts: Any = None
    """How often each word (a column, the main part's first) stands in each added text: scipy's csc_array."""

    _added_vocabulary: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def build(cls, numbers: Numbers, texts: Iterable[str]) -> LexicalView:
        """The view of n ascending numbers and their texts; a blank one is never found."""
        vocabulary: dict[str, int] = {}
        known: dict[str, tuple[int, int]] = {}
        texts_as_ids = [_to_ids(text, vocabulary, known) for text in texts]
        num_words = sum(map(len, texts_as_ids))
        if num_words:
            scores = _bm25().build_index_from_ids(list(range(len(vocabulary))), texts_as_ids, show_progress=False)
        else:
            scores = _scores(np.empty(0, np.float32), np.empty(0, np.int32), np.zeros(1, np.int64), len(texts_as_ids))
        return cls(np.array(numbers, dtype=np.int64), scores, num_words, vocabulary)

    @classmethod
    def load(cls, file: Path, stamp: str) -> LexicalView | None:
        sections = read_view(file, stamp)
        if sections is None:
            return None
        numbers, num_words = sections["numbers"], int(sections["num_words"][0])
        scores = _scores(sections["data"], sections["indices"], sections["indptr"], len(numbers))
        words = sections["vocabulary"].tobytes().decode().split("\n")[:-1]
        return cls(numbers, scores, num_words, {word: place for place, word in enumerate(words)})

    def save(self, file: Path, stamp: str) -> None:
        assert not self.num_changed, "what was added is in the rows"
        # The words in the order of their places, one a line; no word holds a line feed.
        lines = "".join(f"{word}\n" for word in self._vocabulary).encode()
        write_view(
            file,
            stamp,
            {
                "numbers": self._numbers,
                **{name: self._scores[name] for name in ("data", "indices", "indptr")},
                "num_words": np.array([self._num_words]),
                "vocabulary": np.frombuffer(lines, dtype=np.uint8),
            },
        )

    def changed(self, added_numbers: Numbers, added_texts: Iterable[str], removed_numbers: Numbers) -> LexicalView:
        from scipy.sparse import csr_array, vstack

        # The main part is shared, and keeps the weights that its words had when it was built.
        numbers = added_numbers
        gone = np.union1d(removed_numbers, numbers)
        kept = ~is_in(self._added_numbers, gone)
        vocabulary = dict(self._added_vocabulary)
        words = array("q")
        ends = [0]
        for text in added_texts:
            for word in words_of(text):
                place = self._vocabulary.get(word)
                words.append(
                    vocabulary.setdefault(word, len(self._vocabulary) + len(vocabulary)) if place is None else place
                )
            ends.append(len(words))
        width = len(self._vocabulary) + len(vocabulary)
        counts = csr_array((np.ones(len(words), dtype=np.int64), np.array(words), ends), shape=(len(numbers), width))
        counts.sum_duplicates()
        if kept.any():
            before = self._added_counts.tocsr()[kept]
            before.resize(len(before.indptr) - 1, width)
            numbers, counts = np.concatenate([self._added_numbers[kept], numbers]), vstack([before, counts])
        order = np.argsort(numbers)
        return replace(
            self,
            _removed=np.union1d(self._removed, positions_of(self._numbers, gone)),
            _added_numbers=numbers[order],
            _added_counts=counts.tocsr()[order].tocsc(),
            _added_vocabulary=vocabulary,
        )

    @property
    def num_changed(self) -> int:
        return len(self._added_numbers) + len(self._removed)

    @property
    def numbers(self) -> Numbers:
        return np.union1d(np.delete(self._numbers, self._removed), self._added_numbers)

    def search(self, query: str, k: int, allowed: Numbers | None = None) -> tuple[Numbers, NDArray[np.float32]]:
        """Numbers and BM25 scores, above 0, of the k best texts, best first, ties by number.

        Texts that share no word with the query are not among them. `allowed` (ascending) leaves out all other numbers.
        """
        words = words_of(query)
        numbers, scores = self._main_scores(words, allowed)
        added_numbers, added_scores = self._added_scores(words, allowed)
        numbers, scores = np.concatenate([numbers, added_numbers]), np.concatenate([scores, added_scores])
        if 0 < k < len(scores):
            # All that are as good as the k-th, so that the cut among equals is made by number.
            kept = scores >= np.partition(scores, len(scores) - k)[len(scores) - k]
            numbers, scores = numbers[kept], scores[kept]
        return best(numbers, scores, max(k, 0))

    def _main_scores(self, words: list[str], allowed: Numbers | None) -> tuple[Numbers, NDArray[np.float32]]:
        """Numbers and scores of all texts of the main part that may be found."""
        ids = [self._vocabulary[word] for word in words if word in self._vocabulary]
        if not ids:
            return NOTHING, np.empty(0, dtype=np.float32)
        bm25 = _bm25()
        bm25.scores = self._scores
        scores: NDArray[np.float32] = bm25.get_scores_from_ids(ids)
        scores[self._removed] = 0.0
        positions = np.arange(len(scores)) if allowed is None else positions_of(self._numbers, allowed)
        positions = positions[scores[positions] > 0]
        return self._numbers[positions], scores[positions]

    def _added_scores(self, words: list[str], allowed: Numbers | None) -> tuple[Numbers, NDArray[np.float32]]:
        """The same for the added texts, by the weights that all texts together give the words."""
        added, counts = self._added_numbers, self._added_counts
        if not len(added):
            return NOTHING, np.empty(0, dtype=np.float32)
        num_texts = len(self._numbers) + len(added)
        lengths = counts.sum(axis=1)
        mean_length = (self._num_words + lengths.sum()) / num_texts
        scores = np.zeros(len(added))
        for word in words:
            number = self._vocabulary.get(word, self._added_vocabulary.get(word))
            if number is None:
                continue
            start, end = counts.indptr[number : number + 2]
            places, times = counts.indices[start:end], counts.data[start:end]
            in_main = self._scores["indptr"][number : number + 2]
            num_with = end - start + (in_main[1] - in_main[0] if len(in_main) == 2 else 0)
            # Lucene's form, as bm25s's method "lucene" has it: Kamphuis et al. 2020, "Which BM25 do you mean?"
            weight = np.log(1 + (num_texts - num_with + 0.5) / (num_with + 0.5))
            scores[places] += weight * times / (times + _K1 * (1 - _B + _B * lengths[places] / mean_length))
        found = np.flatnonzero(scores)
        if allowed is not None:
            found = found[is_in(added[found], allowed)]
        return added[found], scores[found].astype(np.float32)


def _bm25() -> Any:
    import bm25s

    bm25 = bm25s.BM25(k1=_K1, b=_B, method="lucene")
    bm25.nonoccurrence_array = None
    return bm25


def _scores(data: NDArray[Any], indices: NDArray[Any], indptr: NDArray[Any], num_texts: int) -> Mapping[str, Any]:
    return {"data": data, "indices": indices, "indptr": indptr, "num_docs": num_texts}


def _to_ids(text: str, vocabulary: dict[str, int], known: dict[str, tuple[int, int]]) -> array[int]:
    """The text's words by their place in the vocabulary, which grows. `known` holds the two places of each spelling.

    An array takes a ninth of the memory of a list.
    """
    spellings = spellings_of(text)
    new = [spelling for spelling in dict.fromkeys(spellings) if spelling not in known]
    for spelling, stem in zip(new, stems_of(new), strict=True):
        known[spelling] = (
            vocabulary.setdefault(spelling, len(vocabulary)),
            vocabulary.setdefault(stem, len(vocabulary)),
        )
    return array("i", [place for spelling in spellings for place in known[spelling]])


def words_of(text: str) -> list[str]:
    """The words of a text as often as they stand there: all as they are spelled, then all without their endings."""
    spellings = spellings_of(text)
    return spellings + stems_of(spellings)


def spellings_of(text: str) -> list[str]:
    """The words of a text, case folded, with their endings."""
    words = []
    for run in _RUN.findall(text.casefold()):
        if not _IS_UNSPACED.match(run):
            words.append(run[:_MAX_WORD_CHARS])
        elif len(run) == 1:
            words.append(run)
        else:
            words.extend(map("".join, pairwise(run)))
    return words


def stems_of(spellings: list[str]) -> list[str]:
    """The words without their English endings (Porter's second stemmer), each marked as no spelling can be."""
    import Stemmer

    # A stemmer must not be used by two threads at once, and making one takes microseconds.
    return [f"~{stem}" for stem in Stemmer.Stemmer("english", 0).stemWords(spellings)]
