"""The texts that came with a question, in the ways that data sets write them.

contexts_of(["The desk opens at nine."])
contexts_of({"title": ["Desk"], "sentences": [["It opens", " at nine."]]}, {"title": ["Desk"], "sent_id": [0]})
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tuning.data.formats.given import Context, spelt

_TEXTS = ("text", "content", "page_content", "passage", "paragraph", "paragraph_text", "contents")


def contexts_of(value: Any, supporting: Any = None) -> tuple[Context, ...] | None:
    """A text, a list of texts or of objects with a title, or HotpotQA's titles with their sentences; None for anything
    else. `supporting` are HotpotQA's facts: only texts of their titles hold the answer.
    """
    held = spelt(value)
    if isinstance(held, Mapping) and isinstance(held.get("title"), list) and isinstance(held.get("sentences"), list):
        held = [list(pair) for pair in zip(held["title"], held["sentences"], strict=False)]
    found = [_context(item) for item in (held if isinstance(held, list) else [held])]
    if any(one is None for one in found):
        return None
    gold = _titles(supporting)
    every = [one for one in found if one is not None and one.text.strip()]
    return tuple(Context(one.text, one.title, one.title in gold) if gold else one for one in every)


def _context(item: Any) -> Context | None:
    if isinstance(item, str):
        return Context(item)
    if isinstance(item, Mapping):
        text = next((item[name] for name in _TEXTS if isinstance(item.get(name), str)), None)
        return None if text is None else Context(text, str(item.get("title") or ""))
    if isinstance(item, list) and len(item) == 2 and isinstance(item[0], str) and isinstance(item[1], list):
        title, sentences = item
        return Context("".join(sentences), title) if all(isinstance(one, str) for one in sentences) else None
    return None


def _titles(supporting: Any) -> set[str]:
    held = spelt(supporting)
    if isinstance(held, Mapping):
        titles = held.get("title")
        held = [[title] for title in titles] if isinstance(titles, list) else []
    pairs = held if isinstance(held, list) else []
    return {pair[0] for pair in pairs if isinstance(pair, list) and pair and isinstance(pair[0], str)}
