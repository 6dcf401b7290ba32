"""As many rows of one label as of another: the rare ones repeated, or the frequent ones thinned out.

places = balance(["a", "a", "a", "b"], "oversample")    # [0, 1, 2, 3, 3, 3]: the row at 3 is there three times
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from itertools import cycle, islice
from typing import Literal

from tuning.errors import TuningError

How = Literal["oversample", "undersample"]


def balance(labels: Sequence[str | None], how: How, *, rows: int | None = None, seed: int = 0) -> list[int]:
    """Places of rows: "oversample" adds repeats behind all rows until every label has `rows`, by default those of the
    most frequent one; "undersample" keeps at most `rows` of each, by default those of the rarest, in their order.

    Rows without a label stay as they are. No row is repeated twice before every other of its label was once. Raises
    TuningError where fewer than two labels are there.
    """
    counts = Counter(label for label in labels if label is not None)
    if len(counts) < 2:
        raise TuningError(
            f"there are {len(counts)} labels, so there is nothing to balance: labels are at most 100 answers that are "
            "used twice or more on average"
        )
    wanted = rows or (max if how == "oversample" else min)(counts.values())
    rng = random.Random(seed)
    places_of = {label: [i for i, one in enumerate(labels) if one == label] for label in sorted(counts)}
    if how == "undersample":
        kept = {i for places in places_of.values() for i in rng.sample(places, min(wanted, len(places)))}
        return [i for i, label in enumerate(labels) if label is None or i in kept]
    added: list[int] = []
    for places in places_of.values():
        added += islice(cycle(rng.sample(places, len(places))), max(0, wanted - len(places)))
    return [*range(len(labels)), *added]
