"""The passages that are most like a question in their words: `NearestPassages(chunks).of("When does it open?", 3)`."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from rag.chunking.chunk import Chunk, embedding_text


class NearestPassages:
    """TF-IDF over words; built once."""

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        """`chunks` are not empty."""
        from sklearn.feature_extraction.text import TfidfVectorizer

        self._chunks = chunks
        # One letter or digit may be a word that matters.
        self._words = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b", sublinear_tf=True)
        self._rows = self._words.fit_transform(embedding_text(chunk) for chunk in chunks)

    def of(self, text: str, k: int, *, without: Collection[str] = ()) -> tuple[Chunk, ...]:
        """The `k` passages with the most in common, best first; none that has nothing, or whose id is in `without`."""
        scores = (self._rows @ self._words.transform([text]).T).toarray()[:, 0]
        best = (self._chunks[place] for place in scores.argsort(kind="stable")[::-1] if scores[place] > 0)
        return tuple(chunk for chunk, _ in zip((one for one in best if one.id not in without), range(k), strict=False))
