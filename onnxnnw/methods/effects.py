"""How much a fingerprint's values must agree before a common origin is named, and what is said where they nearly do."""

from onnxnnw.records.record import Record
from onnxnnw.statistics import Association

__all__ = [
    "ANCESTRY_EFFECT",
    "LINEAR_EFFECT",
    "MIN_EFFECT",
    "alike_anyway",
    "alike_without_hidden_units",
    "least_effect",
]

MIN_EFFECT = 0.25
LINEAR_EFFECT = 0.99
"""Of networks without hidden units: trained on halves of one data set they reach .92."""

ANCESTRY_EFFECT = 0.75
"""Of differences to a common ancestor: other data of the same task give up to .65, the same data .85 to .90."""


def least_effect(record: Record) -> float:
    """The effect from which on a fingerprint may be traced."""
    if record.parameters.get("linear"):
        return LINEAR_EFFECT
    return ANCESTRY_EFFECT if record.parameters.get("ancestors") else MIN_EFFECT


def alike_anyway(association: Association, log10_rate: float, record: Record) -> str:
    """Why values that agree far beyond chance, but less than is asked for, say neither yes nor no; empty for all others."""
    if association.log10_p > log10_rate:
        return ""
    if record.parameters.get("linear"):
        return alike_without_hidden_units(record, association.effect)
    if not MIN_EFFECT <= association.effect < least_effect(record):
        return ""
    return _sentence(
        association.effect, ANCESTRY_EFFECT, "the same kind of data change two networks of one ancestor alike"
    )


def alike_without_hidden_units(record: Record, effect: float, least: float = MIN_EFFECT) -> str:
    """The same of a linear model's values, of an effect that chance does not reach; empty for other networks.

    Args:
        least: What chance does not reach.
    """
    if not record.parameters.get("linear") or not least <= effect < LINEAR_EFFECT:
        return ""
    return _sentence(effect, LINEAR_EFFECT, "without hidden units the same kind of data give nearly the same weights")


def _sentence(effect: float, asked: float, others: str) -> str:
    return (
        f"the values agree far beyond chance, but not as much (effect {effect:.2f}) as is asked for ({asked:g}), since {others}: "
        "that shows neither a common origin nor that there is none; a watermark would"
    )
