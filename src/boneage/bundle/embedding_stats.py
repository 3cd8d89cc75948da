"""Statistics of a network's embeddings on validation radiographs, which tell unusual images from usual ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from boneage.errors import BundleError
from boneage.strict import Length, Positive

LIMIT_PERCENTILE = 99.5
"""Percentile of the validation radiographs' distances above which an image is out of distribution."""

SMALLEST_SPREAD = 1e-3
"""Smallest standard deviation of a component; one that hardly varies over the validation radiographs counts as this."""


@dataclass(frozen=True)
class EmbeddingStats:
    """Mean and spread of a network's embeddings of validation radiographs, and the usual distance from that mean.

    Attributes:
        mean: mean of each of the E components.
        spread: standard deviation of each component, above 0.
        limit: distance that 99.5 % of the validation radiographs do not exceed, above 0.
    """

    mean: Annotated[tuple[float, ...], Length(1)]
    spread: tuple[Positive, ...]
    limit: Positive

    def faults(self) -> Iterator[tuple[str, str]]:
        """Yield the places and reasons of values that do not go together (`boneage.strict`)."""
        if len(self.spread) != len(self.mean):
            yield "spread", f"must have as many entries as mean, {len(self.mean)}, not {len(self.spread)}"

    @classmethod
    def of(cls, embeddings: NDArray[np.floating]) -> EmbeddingStats:
        """Measure the statistics of the embeddings (N, E) of validation radiographs, to 4 significant digits."""
        mean = _rounded(embeddings.mean(axis=0))
        spread = _rounded(np.maximum(embeddings.std(axis=0), SMALLEST_SPREAD))
        measured = cls(mean, spread, 1.0)
        distances = [measured.distance(embedding) for embedding in embeddings]
        (limit,) = _rounded(np.percentile(distances, [LIMIT_PERCENTILE]))
        return cls(mean, spread, max(limit, SMALLEST_SPREAD))

    def distance(self, embedding: NDArray[np.floating]) -> float:
        """Return the root mean square, over the components, of the deviations from the mean in units of the spread.

        Args:
            embedding: shape (E,).

        Raises:
            BundleError: ``bundle_mismatch`` if it has another length.
        """
        if embedding.shape != (len(self.mean),):
            raise BundleError(
                "bundle_mismatch", f"An embedding has the shape {embedding.shape}, not {(len(self.mean),)}."
            )
        deviations = (np.asarray(embedding, np.float64) - np.array(self.mean)) / np.array(self.spread)
        return float(np.sqrt(np.mean(deviations**2)))


def _rounded(values: NDArray[np.floating]) -> tuple[float, ...]:
    """Round to 4 significant digits."""
    return tuple(float(f"{value:.4g}") for value in values)
