"""How many positions a mark takes by default, and how strong it is there."""

import math

from onnxnnw.statistics import required_reads

__all__ = [
    "DEFAULT_ADDED",
    "DEFAULT_POSITIONS",
    "MAX_SHARE",
    "default_added_strength",
    "default_positions",
    "default_shared_positions",
]

DEFAULT_POSITIONS = 512

DEFAULT_SHARED = 2048
"""Of copies for recipients: each recipient who compares a copy with others halves what is left of the mark."""

MAX_SHARE = 0.01
"""Share of the eligible weights that a mark takes by default, unless that is too few to be sure of its absence."""

MAX_SHARED_SHARE = 0.05
"""The same of copies for recipients."""

DEFAULT_ADDED, LEAST_ADDED = 0.4, 0.3
"""Deviation of added values in units of each slot's: where there are weights enough, and at the least."""

UNFELT_SHARE = 0.004
"""Share of the weights that may change by ``DEFAULT_ADDED`` without being felt: what a mark costs grows with N · strength²."""


def default_positions(eligible: int) -> int:
    """The default N: 512, but at most 1 % of the eligible weights, and at least as many as proving an absence takes."""
    return min(DEFAULT_POSITIONS, max(required_reads(1e-6), int(eligible * MAX_SHARE)))


def default_shared_positions(eligible: int) -> int:
    """The default N of copies for recipients: 2,048, but at most 5 % of the weights, and enough to prove an absence."""
    return min(DEFAULT_SHARED, max(required_reads(1e-6), int(eligible * MAX_SHARED_SHARE)))


def default_added_strength(eligible: int, positions: int) -> float:
    """The default strength of an added mark: 0.4, less where it takes more than 0.4 % of the weights, never below 0.3.

    The damage of N small changes grows with N · strength², and so the strength falls with the square root of N's share.
    """
    share = positions / max(1, eligible)
    return round(max(LEAST_ADDED, DEFAULT_ADDED * math.sqrt(min(1.0, UNFELT_SHARE / share))), 2)
