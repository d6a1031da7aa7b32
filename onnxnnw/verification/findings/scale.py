"""Scaled: whole layers, or single channels of them, are multiplied by factors of their own."""

from onnxnnw.verification.findings.base import Examination, Finding, few, share
from onnxnnw.verification.slot_reads import SlotReads

__all__ = ["find"]

MIN_READS = 8


def find(examination: Examination) -> list[Finding]:
    """Slots with one factor, and slots in which each out-channel (or each input channel) has its own."""
    slots = [one for one in examination.slot_reads if one.found.size >= MIN_READS and not one.reduced_precision]
    whole = {one.name: {"factor": float(f"{one.factor:.4g}")} for one in slots if one.factor != 1.0 and one.same.all()}
    out = []
    if whole:
        sentence = f"{share(len(whole), len(slots))} weights are multiplied by one factor each"
        out.append(Finding("scaled", sentence, {"slots": len(whole)}, few(whole)))
    for axis in ("out", "in"):
        scaled = {one.name: {"spread": round(one.channels[axis], 4)} for one in slots if axis in one.channels}
        if scaled:
            sentence = (
                f"{share(len(scaled), len(slots))} weights are multiplied by another factor in each {axis}-channel"
            )
            out.append(Finding("scaled per channel", sentence, {"slots": len(scaled), "channels": axis}, few(scaled)))
    named = {name for finding in out for name in finding.slots}
    times = {one.name: _factors(one) for one in slots if one.multiplied and one.name not in named}
    if times and not any(one.moved.size and one.name not in times.keys() | named for one in slots):
        sentence = f"values of {share(len(times), len(slots))} weights are multiplied by factors that differ"
        sentence += ", as rescaled channels leave them"
        out.append(Finding("rescaled", sentence, {"slots": len(times)}, few(times)))
    return out


def _factors(one: SlotReads) -> dict[str, float | int | str]:
    """Smallest and largest factor of a slot's values."""
    return {"smallest": float(f"{one.ratios.min():.4g}"), "largest": float(f"{one.ratios.max():.4g}")}
