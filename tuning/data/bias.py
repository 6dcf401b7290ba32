"""Whether training rows tie what they teach to a person's group: rows that speak of her against rows that speak of him.

audit = audit_rows(texts, labels, GENDER)
audit.differences    # label by label: its share among the rows of each group, and how far they lie apart
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

# Of "Mary's" and "she's" the first word counts.
_WORD = re.compile(r"\w+")
# Rates that lie apart by chance alone are named in one audit of twenty, whatever the number of labels.
_ALPHA = 0.05


@dataclass(frozen=True)
class Terms:
    """Two groups and words for them in pairs, so that one can be put for the other; in lower case."""

    groups: tuple[str, str]
    pairs: tuple[tuple[str, str], ...]

    @cached_property
    def sides(self) -> Mapping[str, int]:
        """The group that a word speaks of, 0 or 1."""
        return {word: side for pair in self.pairs for side, word in enumerate(pair)}

    @cached_property
    def _swaps(self) -> Mapping[str, str]:
        swaps: dict[str, str] = {}
        for first, second in self.pairs:
            swaps.setdefault(first, second)
            swaps.setdefault(second, first)
        return swaps

    def group_of(self, text: str) -> int | None:
        """The one group that the text speaks of; None where it speaks of neither, -1 of both."""
        found = {self.sides[word] for word in _words(text) if word in self.sides}
        return found.pop() if len(found) == 1 else -1 if found else None

    def swapped(self, text: str) -> str:
        """The text as it would be about the other group, in its own case."""

        def swap(match: re.Match[str]) -> str:
            word = match[0]
            other = self._swaps.get(word.casefold(), word)
            if word.isupper() and len(word) > 1:
                return other.upper()
            return other.capitalize() if word[:1].isupper() else other

        return _WORD.sub(swap, text)


_NAMES = (
    *(("mary", "james"), ("jennifer", "robert"), ("linda", "john"), ("elizabeth", "michael"), ("barbara", "david")),
    *(("susan", "william"), ("jessica", "richard"), ("sarah", "joseph"), ("karen", "thomas"), ("lisa", "charles")),
    *(("emily", "daniel"), ("emma", "matthew"), ("olivia", "anthony"), ("sophie", "andrew"), ("anna", "paul")),
    *(("laura", "kevin"), ("maria", "jose"), ("fatima", "mohammed"), ("aisha", "ahmed"), ("priya", "raj")),
)
GENDER = Terms(
    ("female", "male"),
    (
        *(("she", "he"), ("her", "his"), ("her", "him"), ("hers", "his"), ("herself", "himself")),
        *(("woman", "man"), ("women", "men"), ("girl", "boy"), ("girls", "boys"), ("female", "male")),
        *(("lady", "gentleman"), ("ladies", "gentlemen"), ("mrs", "mr"), ("ms", "mr"), ("madam", "sir")),
        *(("mother", "father"), ("mum", "dad"), ("mom", "dad"), ("daughter", "son"), ("daughters", "sons")),
        *(("sister", "brother"), ("sisters", "brothers"), ("wife", "husband"), ("girlfriend", "boyfriend")),
        *(("aunt", "uncle"), ("niece", "nephew"), ("grandmother", "grandfather"), ("grandma", "grandpa")),
        *(("queen", "king"), ("actress", "actor"), ("waitress", "waiter"), ("widow", "widower")),
        *_NAMES,
    ),
)
"""English words and common given names."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A label's share among the rows of either group, and the first minus the second with its interval."""

    label: str
    counts: tuple[int, int]
    shares: tuple[float, float]
    difference: float
    low: float
    high: float

    @property
    def is_shown(self) -> bool:
        """Whether the interval leaves no room for equal shares."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, slots=True)
class Audit:
    """Rows that speak of one of two groups alone, or of both; of those of one, how many have their counterpart (the
    same words about the other group) among the rows, with the same label or with another. `differences` begin with the
    largest; there are none where a group is not spoken of, or rows have no labels.
    """

    groups: tuple[str, str]
    num_rows: tuple[int, int]
    num_both: int
    num_same: int
    num_other: int
    differences: tuple[Difference, ...]

    @property
    def num_alone(self) -> int:
        """Rows without a counterpart: a model learns nothing from them that would hold the groups alike."""
        return sum(self.num_rows) - self.num_same - self.num_other


def audit_rows(texts: Sequence[str], labels: Sequence[str | None], terms: Terms) -> Audit:
    """What the rows of these texts and labels say of two groups; a label of None is none.

    Intervals are Newcombe's for a difference of two proportions (1998, method 10), at a level that holds for all labels
    together (Bonferroni).
    """
    groups = [terms.group_of(text) for text in texts]
    labels_of: dict[tuple[str, ...], set[str | None]] = {}
    for text, label in zip(texts, labels, strict=True):
        labels_of.setdefault(_words(text), set()).add(label)
    same = other = 0
    for text, label, group in zip(texts, labels, groups, strict=True):
        if group in (0, 1):
            known = labels_of.get(_words(terms.swapped(text)), set())
            same += label in known
            other += bool(known) and label not in known
    counted = [
        Counter(label for label, group in zip(labels, groups, strict=True) if group == side and label is not None)
        for side in (0, 1)
    ]
    sizes = (groups.count(0), groups.count(1))
    return Audit(terms.groups, sizes, groups.count(-1), same, other, _differences(counted[0], counted[1]))


def _differences(first: Counter[str], second: Counter[str]) -> tuple[Difference, ...]:
    from statsmodels.stats.proportion import confint_proportions_2indep

    of_first, of_second = first.total(), second.total()
    if not of_first or not of_second:
        return ()
    found = []
    names = sorted({*first, *second})
    for label in names:
        a, b = first[label], second[label]
        low, high = confint_proportions_2indep(
            a, of_first, b, of_second, method="newcomb", compare="diff", alpha=_ALPHA / len(names)
        )
        shares = (a / of_first, b / of_second)
        found.append(Difference(label, (a, b), shares, shares[0] - shares[1], float(low), float(high)))
    return tuple(sorted(found, key=lambda one: (not one.is_shown, -abs(one.difference), one.label)))


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.casefold() for word in _WORD.findall(text))
