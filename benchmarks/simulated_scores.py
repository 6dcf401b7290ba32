"""Arms with known means, and the scores that they would get: binary, graded, clustered in documents, or skewed.

scores, clusters = Population((0.5, 0.6), "graded").draw(rng, 400)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta, norm

Scores = NDArray[np.float64]
Kind = Literal["binary", "graded", "clustered", "skewed"]

# Partial credit: Beta(mean * weight, (1 - mean) * weight). A small weight gives mostly 0 and 1, a large one an arm that
# gets about its mean on every question.
_GRADED, _VERBOSE = 1.0, 20.0
_POINTS = 4001
QUESTIONS_A_DOCUMENT = 10


@dataclass(frozen=True)
class Population:
    """Arms whose scores have these means. All arms share the difficulty of `agreement` of the questions, which sets how
    often two arms of equal means disagree.

    `clustered`: ten questions a document, and an arm is good at a document or bad at it. `skewed`: every other arm,
    counted from the last, is right or wrong; those between give partial credit.
    """

    means: tuple[float, ...]
    kind: Kind = "binary"
    agreement: float = 0.6

    def draw(
        self, rng: np.random.Generator, num_questions: int, per_document: int = QUESTIONS_A_DOCUMENT
    ) -> tuple[Scores, tuple[str, ...]]:
        """(arms, questions) scores, and the document of each question."""
        num_arms = len(self.means)
        own = rng.random((num_arms, num_questions))
        clusters = tuple(f"question:{i}" for i in range(num_questions))
        if self.kind == "clustered":
            document = np.arange(num_questions) // per_document
            effects = rng.standard_normal((num_arms, document[-1] + 1))[:, document]
            own = norm.cdf(np.sqrt(0.6) * effects + np.sqrt(0.4) * norm.ppf(own))
            clusters = tuple(f"document {i}" for i in document)
        latent = np.where(rng.random(num_questions) < self.agreement, rng.random(num_questions), own)
        rows = [self._score(arm, mean, latent[arm]) for arm, mean in enumerate(self.means)]
        return np.array(rows), clusters

    def _score(self, arm: int, mean: float, latent: Scores) -> Scores:
        """A low `latent` is an easy question."""
        if self.kind == "graded":
            return np.interp(1 - latent, *_quantiles(mean, _GRADED))
        if self.kind == "skewed" and (len(self.means) - 1 - arm) % 2:
            return np.interp(1 - latent, *_quantiles(mean, _VERBOSE))
        return (latent < mean).astype(np.float64)


@lru_cache
def _quantiles(mean: float, weight: float) -> tuple[Scores, Scores]:
    shares = (np.arange(_POINTS) + 0.5) / _POINTS
    return shares, beta.ppf(shares, mean * weight, (1 - mean) * weight)
