"""Two networks, no record and no secret: what they share, layer by layer."""

from onnxnnw.comparison.compare import Comparison, compare

__all__ = ["Comparison", "compare"]
