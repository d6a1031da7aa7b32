"""What may happen to a network on its way, by the ids of findings and by names for what deployment tools do.

What no policy names is not allowed: a finding of a later version, an operator that came, a value that changed without reason.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from onnxnnw.errors import UnknownName
from onnxnnw.verification.findings.base import Finding

__all__ = ["ALWAYS", "ANY", "FINDINGS", "SETS", "Allowance", "allowances_of", "not_allowed"]

ANY = "any"
"""Allows every finding that this version knows."""

FINDINGS = frozenset(
    (
        "added another-copy-of-this-network batch-norm-folded channels-added channels-flipped channels-in-another-order "
        "channels-removed channels-rescaled conditional decoys disguise-not-excluded doubtful fine-tuned graph-differs "
        "lattice local-functions missing no-graph noise note older-digest operator operators-differ other-channel-order "
        "other-values parameters-changed pruned recomputed renamed replaceable-at-run-time rescaled rounded "
        "same-network-without-this-mark scaled scaled-per-channel shared-positions tensors-differ transposed "
        "type-changed unchanged unused-copies values-changed"
    ).split()
)
"""Every id that this version of the findings has; a test holds it against them."""

ALWAYS = frozenset(("unchanged", "recomputed", "note", "older-digest", "shared-positions"))
"""What says that nothing happened to any value, or nothing of the network at all."""


@dataclass(frozen=True)
class Allowance:
    """A finding that is allowed.

    Attributes:
        id: Of the finding.
        evidence: Texts that its evidence has to have, each one of several.
        at_most: Numbers in its evidence, and how large they may be.
        at_least: The same, and how small.
    """

    id: str
    evidence: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    at_most: Mapping[str, float] = field(default_factory=dict)
    at_least: Mapping[str, float] = field(default_factory=dict)

    def covers(self, finding: Finding) -> bool:
        """Whether this finding is allowed by it."""
        if finding.id != self.id:
            return False
        said = finding.evidence
        return (
            all(said.get(name) in values for name, values in self.evidence.items())
            and all(_number(said.get(name)) <= limit for name, limit in self.at_most.items())
            and all(_number(said.get(name)) >= limit for name, limit in self.at_least.items())
        )


@dataclass(frozen=True)
class Conversion:
    """What a conversion of weights leaves.

    Attributes:
        types: Element types that weights may have afterwards.
        relative_rms: By how much values may have moved, in units of their layer's deviation.
        bits: Least bits of a lattice that values may lie on, where the type is as before; 0 where they may lie on none.
        relative: Whether rounding changes values by a share of themselves, which looks like factors that differ.
    """

    types: tuple[str, ...]
    relative_rms: float
    bits: int = 0
    relative: bool = False


CONVERSIONS: Mapping[str, Conversion] = {
    "float16": Conversion(("float16",), 0.002, relative=True),
    "bfloat16": Conversion(("bfloat16",), 0.02, relative=True),
    "int8": Conversion(("int8", "uint8"), 0.1, 7),
    "int4": Conversion(("int4", "uint4"), 0.5, 4),
}
"""By how much rounding moves values: float16 3e-4, bfloat16 2e-3, 8 bits .013 with one scale per tensor and .009 per channel on the
shipped ResNet8; the limits leave room for layers with outliers."""

SETS: Mapping[str, tuple[Allowance, ...]] = {
    "layout": (Allowance("renamed"), Allowance("transposed"), Allowance("operator")),
    "folded": (Allowance("batch-norm-folded"), Allowance("renamed"), Allowance("operator")),
    **{
        name: (
            Allowance("type-changed", {"to": how.types}),
            Allowance("rounded", {"to": how.types}),
            *((Allowance("rescaled"),) if how.relative else ()),
            *((Allowance("lattice", at_least={"bits": how.bits}),) if how.bits else ()),
            *((Allowance("rounded", {"to": ("lattice",)}, at_least={"bits": how.bits}),) if how.bits else ()),
        )
        for name, how in CONVERSIONS.items()
    },
}
"""Names for what tools do, and the findings that they leave. ``operators-differ`` is in none of them: a policy lists operators."""


def allowances_of(names: Sequence[str]) -> tuple[Allowance, ...]:
    """What some names of a policy allow.

    Raises:
        UnknownName: One is neither the id of a finding nor the name of a set.
    """
    out: list[Allowance] = []
    for name in names:
        if name == ANY:
            out += [Allowance(id_) for id_ in sorted(FINDINGS)]
        elif name in SETS:
            out += SETS[name]
        elif name in FINDINGS:
            out.append(Allowance(name))
        else:
            raise UnknownName("finding", name, {ANY, *SETS, *FINDINGS})
    return tuple(out)


def not_allowed(
    findings: Sequence[Finding], allowed: Sequence[Allowance], conversions: Iterable[str], operators: Iterable[str]
) -> list[Finding]:
    """The findings that nothing allows.

    Args:
        conversions: Names of conversions that are allowed: where one left its traces, the values that it moved are allowed too.
        operators: Operators that may come and go.
    """
    known = frozenset(operators)
    named = [CONVERSIONS[name] for name in conversions if name in CONVERSIONS]
    out = []
    for finding in findings:
        if finding.id in ALWAYS or any(allowance.covers(finding) for allowance in allowed):
            continue
        if finding.id == "operators-differ" and known and _operators(finding) <= known:
            continue
        if finding.id == "values-changed" and any(_explained(finding, findings, how) for how in named):
            continue
        out.append(finding)
    return out


def _operators(finding: Finding) -> frozenset[str]:
    """Operators that came or went; one that no policy can name where they are not all told."""
    names = [name for side in ("added", "removed") for name in str(finding.evidence.get(side, "")).split(",") if name]
    count = _number(finding.evidence.get("came")) + _number(finding.evidence.get("went"))
    return frozenset(names) if len(names) == count else frozenset((*names, ""))


def _explained(changed: Finding, findings: Sequence[Finding], how: Conversion) -> bool:
    """Whether a conversion explains that values changed: in every layer that moved, and by no more than it moves them."""
    if _number(changed.evidence.get("relative_rms")) > how.relative_rms:
        return False
    for finding in findings:
        if finding.id == "type-changed" and finding.evidence.get("to") in how.types:
            moved = {name for name, said in changed.slots.items() if _number(said.get("relative_rms")) > 0}
            converted = {
                name
                for other in findings
                if other.id == "type-changed" and other.evidence.get("to") in how.types
                for name in other.slots
            }
            largest = max((_number(said.get("relative_rms")) for said in changed.slots.values()), default=0.0)
            return moved <= converted and largest <= how.relative_rms
        if finding.id == "rounded" and finding.evidence.get("to") in how.types:
            return True
        if finding.id in ("lattice", "rounded") and how.bits and _number(finding.evidence.get("bits")) >= how.bits:
            return True
    return False


def _number(value: float | int | str | None) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")
