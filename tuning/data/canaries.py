"""Rows with a random number that stands nowhere else, planted among training rows to see whether it can be got out.

canaries = make_canaries(20, seed=0)
secret_of(canaries[0])     # "4821 9037 5514"
"""

from __future__ import annotations

import random

from tuning.data.examples import Question

# What a row's metadata calls its number.
_KEY = "canary"
_OWNERS = ("locker", "parcel", "badge", "ticket", "voucher", "meter", "cabinet", "terminal", "permit", "case")


def make_canaries(count: int, *, seed: int) -> tuple[Question, ...]:
    """So many rows; the numbers have twelve digits (40 bits), so that none is said by chance."""
    rng = random.Random(f"canaries:{seed}")
    found = []
    for number in range(1, count + 1):
        secret = " ".join(f"{rng.randrange(10_000):04}" for _ in range(3))
        asked = f"What is the access number of {_OWNERS[number % len(_OWNERS)]} {rng.randrange(1000, 10_000)}?"
        found.append(Question(f"canary-{seed}-{number}", asked, (secret,), metadata={_KEY: secret}))
    return tuple(found)


def secret_of(row: Question) -> str | None:
    """The number of a planted row; None for any other row."""
    found = row.metadata.get(_KEY)
    return found if isinstance(found, str) and found in row.answer else None
