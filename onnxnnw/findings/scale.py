"""Scaled: whole layers, or single channels of them, are multiplied by factors of their own."""

import numpy as np
from numpy.typing import NDArray

from onnxnnw.findings.base import Examination, Finding, SlotReads, few, share

__all__ = ["find"]

MIN_READS, MIN_PAIRS = 8, 6
SPREAD = 0.05
"""Ratios within a channel agree to this share; those of different channels differ by more."""


def find(examination: Examination) -> list[Finding]:
    """Slots with one factor, and slots in which each out-row (or each input channel) has its own."""
    slots = [one for one in examination.slot_reads if one.found.size >= MIN_READS]
    whole = {one.name: {"factor": float(f"{one.factor:.4g}")} for one in slots if one.factor != 1.0 and one.same.all()}
    rows = {one.name: _spreads(one, one.rows) for one in slots if not one.same.all()}
    columns = {one.name: _spreads(one, _channel(one)) for one in slots if not one.same.all()}
    out = []
    if whole:
        sentence = f"{share(len(whole), len(slots))} weights are multiplied by one factor each"
        out.append(Finding("scaled", sentence, {"slots": len(whole)}, few(whole)))
    for axis, found in (("out", rows), ("in", columns)):
        scaled = {name: {"between": round(spreads[1], 4)} for name, spreads in found.items() if _scaled(spreads)}
        if scaled:
            sentence = (
                f"{share(len(scaled), len(slots))} weights are multiplied by another factor in each {axis}-channel"
            )
            evidence: dict[str, float | int | str] = {"slots": len(scaled), "channels": axis}
            out.append(Finding("scaled per channel", sentence, evidence, few(scaled)))
    return out


def _channel(one: SlotReads) -> NDArray[np.int64]:
    """Input channel of each read."""
    shape = one.match.slot.shape
    kernel = int(np.prod(shape[2:])) if len(shape) > 2 else 1
    channel: NDArray[np.int64] = one.columns // max(1, kernel)
    return channel


def _scaled(spreads: tuple[float, float, int]) -> bool:
    within, between, pairs = spreads
    return pairs >= MIN_PAIRS and within < SPREAD and between > 2 * SPREAD


def _spreads(one: SlotReads, groups: NDArray[np.int64]) -> tuple[float, float, int]:
    """Typical spread of log-ratios within groups of two reads and more, that of all, and the degrees of freedom."""
    usable = (one.found * one.enrolled > 0) & (np.abs(one.enrolled) > 0.05 * one.deviation)
    logs, groups = np.log(one.found[usable] / one.enrolled[usable]), groups[usable]
    _, inverse, counts = np.unique(groups, return_inverse=True, return_counts=True)
    pairs = int((counts - 1).sum())
    if pairs < MIN_PAIRS or usable.sum() < 0.8 * usable.size:
        return 0.0, 0.0, 0
    means = np.bincount(inverse, logs) / counts
    several = counts[inverse] > 1
    within = float(np.sqrt(np.median((logs - means[inverse])[several] ** 2)))
    return within, float(np.std(logs)), pairs
