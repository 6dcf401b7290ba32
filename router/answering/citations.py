"""Which passages an answer rests on, and the words of them that say so.

cite("At nine.", passages, "When does the loan desk open?")[0].annotation()
# {"type": "file_citation", "file_id": "desk", "filename": "Desk", "index": 8, "page": 2, "quote": "It opens at nine."}
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rag.passage import Passage

# A passage is cited when it holds at least this share of the answer's words, by their weight. Half keeps short exact
# answers (one or two words) strict and forgives a word of the model's own in longer ones.
CITATION_SUPPORT = 0.5
# A quote is at most so many sentences, and a sentence (a table row, a line of code) at most so many characters.
_MAX_SENTENCES = 3
_MAX_SENTENCE = 320
# What a further sentence of a quote must bring, and what makes a quote more than a name; by `terms.weight`.
_FURTHER_WEIGHT = 3
_TELLING_WEIGHT = 16

# `rows[1]` in code and [1](address) are no markers.
_MARKER = re.compile(r"```.*?(?:```|\Z)|`[^`\n]+`|\[(\d{1,4})\](?!\()", re.DOTALL)
# What the model says somebody wrote, and the markers it puts behind that.
_QUOTED = re.compile(
    r"""(?:"([^"\n]+)"|“([^“”\n]+)”|„([^„“”\n]+)[“”]|«([^«»\n]+)»|「([^「」\n]+)」)[.,;:]?(?:\s*\[\d{1,4}\])*"""
)
_EDGES = " \t.,;:!?…。，、！？·"
# After a full stop and a blank (not that of an initial or of Dr., No., Mrs.), after a full stop that needs no blank,
# between paragraphs, and before the rows of tables and lists.
_BOUNDARY = re.compile(
    r"""(?<![ (][A-Z]\.)(?<!\b[A-Z][a-z]\.)(?<!\bMrs\.)(?<=[.!?…؟।])["'”’»)\]]*\s+"""
    r"""|(?<=[。！？])[」』”]?\s*|\n\s*\n|\n(?=[ \t]*(?:[#|>*•–-]|\d+[.)][ \t]))"""
)

# Combining marks are part of a word (Devanagari, Tamil, Arabic vowels), though not `\w`.
_MARKS = (
    r"\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1-\u05c7\u0610-\u061a"
    r"\u064b-\u065f\u0670\u06d6-\u06dc\u0900-\u0963\u0966-\u0dff"
)
# Scripts that put no blanks between words (Thai, Lao, Burmese, Khmer, kana, Han), or particles on them (Hangul).
_DENSE = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uac00-\ud7a3\U00020000-\U0003ffff"
)
_WORD = re.compile(rf"[{_DENSE}]+|(?:(?![{_DENSE}])[\w{_MARKS}])+")
_IS_DENSE = re.compile(rf"[{_DENSE}]")
_IS_ALPHABETIC = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff]")
_FUNCTION_WORDS = frozenset((
    "a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "from", "has", "have", "in",
    "is", "it", "its", "of", "on", "or", "that", "the", "this", "to", "was", "were", "will", "with",
))  # fmt: skip


@dataclass(frozen=True, slots=True)
class Citation:
    """A passage that supports the answer; `index` is the character of the answer that the citation stands at.

    `quote` is the part of the passage that supports the answer most: `passage.text[start:end]`, '' if no part does.
    `rank` tells which of the passages it is, from 1.
    """

    document_id: str
    filename: str
    index: int
    rank: int = 1
    page: int | None = None
    quote: str = ""
    start: int = 0
    end: int = 0

    def annotation(self) -> dict[str, object]:
        """OpenAI's `file_citation` shape; the rank, the page and the quote ride along where they are known."""
        shape: dict[str, object] = {
            "type": "file_citation",
            "file_id": self.document_id,
            "filename": self.filename,
            "index": self.index,
            "rank": self.rank,
        }
        page = {"page": self.page} if self.page is not None else {}
        quote = {"quote": self.quote, "start": self.start, "end": self.end} if self.quote else {}
        return shape | page | quote


def filename_of(passage: Passage) -> str:
    """What a reader knows the passage's document by: where it came from, else its title, else its id."""
    return passage.source or passage.title or passage.document_id


def cite(text: str, passages: Sequence[Passage], query: str = "") -> tuple[Citation, ...]:
    """The passages an answer rests on: those it marks `[n]`, else those that hold at least half of its words.

    A document is cited once, by its best passage, in rank order. A passage that the answer quotes word for word is
    cited with that quote. Words in quotation marks that stand in no passage support nothing, nor do the markers behind
    them. Of sentences that support the answer equally, those nearer to `query`, what was searched, are quoted.
    """
    quoted, left = _check_quotes(text, passages)
    markers: dict[int, int] = {}

    def mark(marker: re.Match[str]) -> str:
        if marker[1] is None or not 1 <= int(marker[1]) <= len(passages):
            return marker[0]
        markers.setdefault(int(marker[1]), marker.start())
        return " "

    left = _MARKER.sub(mark, left)
    held = [terms(passage.text) for passage in passages]
    wanted = without_function_words(terms(left), held)
    asked = without_function_words(terms(query), held) - wanted
    best: dict[str, tuple[float, Citation]] = {}
    for rank, passage in enumerate(passages, start=1):
        support = weight(wanted & held[rank - 1]) / weight(wanted) if wanted else 0.0
        span = quoted.get(rank)
        if markers:
            is_cited = rank in markers
        else:
            # A name in quotation marks stands in many passages; only a longer quote tells which of them was read.
            is_read = span is not None and weight(terms(passage.text[slice(*span)])) >= _TELLING_WEIGHT
            is_cited = is_read or support >= CITATION_SUPPORT
        if not is_cited:
            continue
        start, end = span or _support_span(passage.text, wanted, asked)
        citation = Citation(
            document_id=passage.document_id,
            filename=filename_of(passage),
            index=markers.get(rank, len(text)),
            rank=rank,
            page=passage.page_at(start) if end else passage.page,
            quote=passage.text[start:end],
            start=start,
            end=end,
        )
        certainty = support + (span is not None)
        if passage.document_id not in best or certainty > best[passage.document_id][0]:
            best[passage.document_id] = (certainty, citation)
    return tuple(citation for _, citation in best.values())


def are_supported(text: str, passages: Sequence[str]) -> tuple[bool, ...]:
    """Of each sentence of an answer whether some passage holds at least half of its words, by their weight; a sentence
    without words of its own claims nothing.
    """
    held = [terms(passage) for passage in passages]
    plain = _MARKER.sub(lambda match: " " if match[1] else match[0], text)
    found = []
    for start, end in _sentences(plain):
        wanted = without_function_words(terms(plain[start:end]), held)
        best = max((weight(wanted & one) for one in held), default=0)
        found.append(best >= CITATION_SUPPORT * weight(wanted))
    return tuple(found)


def _check_quotes(text: str, passages: Sequence[Passage]) -> tuple[dict[int, tuple[int, int]], str]:
    """The longest true quote of each passage, as the passage's rank -> span; and the text with false quotes blanked."""
    quoted: dict[int, tuple[int, int]] = {}

    def check(match: re.Match[str]) -> str:
        words = next(group for group in match.groups() if group is not None).strip(_EDGES).split()
        if not words:
            return match[0]
        # Line ends and capitals may differ, words may not.
        pattern = re.compile(r"\s+".join(re.escape(word) for word in words), re.IGNORECASE)
        is_true = False
        for rank, passage in enumerate(passages, start=1):
            if found := pattern.search(passage.text):
                is_true = True
                earlier = quoted.get(rank, (0, 0))
                if found.end() - found.start() > earlier[1] - earlier[0]:
                    quoted[rank] = found.span()
        return match[0] if is_true else " " * len(match[0])

    left = _QUOTED.sub(check, text)
    return quoted, left


def _support_span(text: str, wanted: frozenset[str], asked: frozenset[str]) -> tuple[int, int]:
    """The sentences, one to three in a row, that hold most of the wanted words; (0, 0) where none holds any.

    Of equals it takes those with most of the asked words, then the shortest. A further sentence must bring more than a
    short word.
    """
    spans = list(_sentences(text))
    held = [terms(text[start:end]) for start, end in spans]
    best, best_span = (0, 0, 0), (0, 0)
    for first in range(len(spans)):
        for last in range(first, min(first + _MAX_SENTENCES, len(spans))):
            run = frozenset().union(*held[first : last + 1])
            start, end = spans[first][0], spans[last][1]
            further = last - first
            value = (
                weight(run & wanted) - _FURTHER_WEIGHT * further,
                0 if further else weight(run & asked),
                start - end,
            )
            if value > best:
                best, best_span = value, (start, end)
    return best_span


def _sentences(text: str) -> Iterator[tuple[int, int]]:
    """Spans of the text's sentences without the blanks around them, long ones in parts."""
    after = 0
    for end, following in (*(match.span() for match in _BOUNDARY.finditer(text)), (len(text), len(text))):
        sentence = text[after:end]
        start, end, after = end - len(sentence.lstrip()), after + len(sentence.rstrip()), following
        while end - start > _MAX_SENTENCE:
            cut = text.rfind(" ", start + _MAX_SENTENCE // 2, start + _MAX_SENTENCE)
            cut = cut if cut > 0 else start + _MAX_SENTENCE
            yield start, cut
            start = cut + (text[cut] == " ")
        if end > start:
            yield start, end


def terms(text: str) -> frozenset[str]:
    """The text's words in one form, for comparing an answer with a passage in any script.

    Scripts without blanks between words give runs of characters instead: of one and two in Chinese, Japanese and
    Korean, of three in alphabets.
    """
    found: set[str] = set()
    for word in _WORD.findall(unicodedata.normalize("NFKC", text).casefold()):
        if not _IS_DENSE.match(word):
            found.add(word)
        elif _IS_ALPHABETIC.match(word):
            found.update(word[i : i + 3] for i in range(max(1, len(word) - 2)))
        else:
            found.update(word)
            found.update(word[i : i + 2] for i in range(len(word) - 1))
    return frozenset(found)


def without_function_words(words: frozenset[str], others: Iterable[frozenset[str]]) -> frozenset[str]:
    """The words less the English function words, if one of the `others` is English: "or" is gold in French."""
    return words - _FUNCTION_WORDS if any("the" in other for other in others) else words


def weight(words: Iterable[str]) -> int:
    """How much words tell: a point a letter, up to four a word. The function words of most languages are short."""
    return sum(min(len(word), 4) for word in words)
