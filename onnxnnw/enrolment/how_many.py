"""The default number of positions of a mark."""

from onnxnnw.statistics import required_reads

__all__ = ["DEFAULT_POSITIONS", "MAX_SHARE", "default_positions", "default_shared_positions"]

DEFAULT_POSITIONS = 512

DEFAULT_SHARED = 2048
"""Of copies for recipients: each recipient who compares a copy with others halves what is left of the mark."""

MAX_SHARE = 0.01
"""Share of the eligible weights that a mark takes by default, unless that is too few to be sure of its absence."""

MAX_SHARED_SHARE = 0.05
"""The same of copies for recipients."""


def default_positions(eligible: int) -> int:
    """The default N: 512, but at most 1 % of the eligible weights, and at least as many as proving an absence takes."""
    return min(DEFAULT_POSITIONS, max(required_reads(1e-6), int(eligible * MAX_SHARE)))


def default_shared_positions(eligible: int) -> int:
    """The default N of copies for recipients: 2,048, but at most 5 % of the weights, and enough to prove an absence."""
    return min(DEFAULT_SHARED, max(required_reads(1e-6), int(eligible * MAX_SHARED_SHARE)))
