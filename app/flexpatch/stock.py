"""How many objects stand in the scene that no look has been able to see yet.

Births tell how often objects come. But most of those in a scene were there before the camera was opened, and the
small ones among them show on no thumbnail: their number is inferred from what looks have found so far, band by
band of heights, since scenes hold about as many objects in one octave of heights as in the next.
"""

import numpy as np
from numpy.typing import NDArray

PRIOR_OBJECTS = 0.5
"""Expected in each band of a scene of which nothing is known."""
BORROWED_EXPOSURE = 0.25
"""Looks at the whole frame for which the average of all bands counts in a band that was seen little."""


class Stock:
    """What is known of the standing objects of one scene, by cell and band of heights."""

    def __init__(self, n_bands: int, shape: tuple[int, int]) -> None:
        """
        Args:
            shape: rows and columns of cells.
        """
        self.unknown = np.ones((n_bands, *shape), np.float32)
        """(bands, rows, columns) chance that an object of that height would not have been seen there yet."""
        self._found = np.zeros(n_bands)
        self._exposure = np.zeros(n_bands)
        """(bands,) looks at the whole frame, parts added up, that could see something not seen before."""

    def forget(self) -> None:
        """Start anew, as when other classes are looked for."""
        self.unknown[:] = 1
        self._found[:] = 0
        self._exposure[:] = 0

    @property
    def objects(self) -> NDArray[np.float64]:
        """(bands,) how many objects the whole scene holds, seen or not."""
        average = (PRIOR_OBJECTS + self._found.sum()) / (1 + self._exposure.sum())
        return np.asarray((self._found + BORROWED_EXPOSURE * average) / (self._exposure + BORROWED_EXPOSURE))

    def record_look(self, rows: slice, columns: slice, seen: NDArray[np.floating], weight: NDArray[np.float32]) -> None:
        """A region was looked at.

        Args:
            seen: (bands,) share of the objects of each band that such a look can see.
            weight: (rows, columns) of the whole scene: where objects are more to be expected than elsewhere.
        """
        part = self.unknown[:, rows, columns]
        shown = np.einsum("brc,rc->b", part, weight[rows, columns])
        self._exposure += seen * shown / max(float(weight.sum()), 1e-6)
        part *= (1 - seen).astype(np.float32)[:, None, None]

    def record_found(self, bands: NDArray[np.intp], scores: NDArray[np.floating]) -> None:
        """Objects (N,) were found that had been standing there, each counted by its score."""
        np.add.at(self._found, bands, scores)
