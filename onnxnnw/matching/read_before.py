"""A cache of values that were read from a slot."""

import numpy as np
from numpy.typing import NDArray

__all__ = ["ReadBefore"]

Floats = NDArray[np.float64]
Positions = NDArray[np.int64]


class ReadBefore:
    """Values of a slot that were read already; many small reads cost more than one."""

    def __init__(self, places: Positions, values: Floats) -> None:
        order = np.argsort(places)
        self._places, self._values = places[order], values[order]

    def at(self, places: Positions) -> Floats | None:
        """The values there; None where not all of them were read."""
        if not self._places.size:
            return None
        found = self._places.searchsorted(places)
        if found.size and found.max() >= self._places.size:
            return None
        return self._values[found] if (self._places[found] == places).all() else None
