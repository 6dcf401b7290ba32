"""Splits by source document: no document has questions on two sides, so what was learned of one is not asked again.

train, test = split_by_document(questions, (0.8, 0.2), seed=0)
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from eval.errors import EvalError
from eval.questions import Question, plain_text


def split_by_document(
    rows: Sequence[Question], shares: Sequence[float], *, seed: int = 0
) -> tuple[tuple[Question, ...], ...]:
    """One part per share, with about that share of the rows, each in the order of the rows.

    Rows that name a common document, or ask the same (case and punctuation aside), are in one part, and so is whatever
    they are connected to; a row without a document stands alone. The same rows, shares and seed give the same parts.
    Shares are positive and add up to 1. Raises EvalError where there are fewer such groups than parts.

    Groups are dealt out from the largest on, each to the part with the least of its due (Sainte-Laguë's rule), so that
    every part gets large and small documents; the seed orders groups of one size.
    """
    assert abs(sum(shares) - 1) < 1e-9, "shares add up to 1"
    assert min(shares) > 0, "shares are positive"
    groups = _groups(rows)
    if len(groups) < len(shares):
        raise EvalError(
            f"{len(rows)} rows cannot be split into {len(shares)} parts by document: documents in common make them "
            f"{len(groups)} group{'s' if len(groups) > 1 else ''}"
        )
    random.Random(seed).shuffle(groups)
    groups.sort(key=len, reverse=True)
    parts: list[list[int]] = [[] for _ in shares]
    for dealt, group in enumerate(groups):
        empty = [part for part in range(len(parts)) if not parts[part]]
        # The last groups go to parts that would otherwise stay empty.
        open_parts = empty if len(empty) >= len(groups) - dealt else range(len(parts))
        least = min(open_parts, key=lambda part: (len(parts[part]) + len(group) / 2) / shares[part])
        parts[least].extend(group)
    return tuple(tuple(rows[i] for i in sorted(part)) for part in parts)


def _groups(rows: Sequence[Question]) -> list[list[int]]:
    """Places of rows that are connected by documents or by asking the same, in the order of their first row."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    links: dict[tuple[str, str], int] = {}
    edges: list[tuple[int, int]] = []
    for i, row in enumerate(rows):
        for key in (("text", plain_text(row.text)), *(("document", name) for name in row.document_ids)):
            edges.append((i, len(rows) + links.setdefault(key, len(links))))
    if not edges:
        return []
    size = len(rows) + len(links)
    sources, targets = zip(*edges, strict=True)
    graph = coo_array(([1] * len(edges), (sources, targets)), shape=(size, size))
    _, labels = connected_components(graph, directed=False)
    groups: dict[int, list[int]] = {}
    for i in range(len(rows)):
        groups.setdefault(int(labels[i]), []).append(i)
    return list(groups.values())
