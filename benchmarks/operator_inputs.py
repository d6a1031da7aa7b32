"""Write the page that shows what may stand at operators' inputs: docs/reference/operator-inputs.md.

    python -m benchmarks operator_inputs

Nothing is measured; the page follows from ``onnxnnw.accounting.roles`` and ``onnxnnw.graph.uses``, and a test
holds it against them.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from onnxnnw.accounting.roles import MAX_STRUCTURAL, Role, table
from onnxnnw.graph.uses import AS_TABLE, MIN_ELEMENTS, Use, uses

__all__ = ["PAGE", "main", "page"]

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "operator-inputs.md"
_HEAD = f"""# What may stand at an operator's input

Written by `python -m benchmarks operator_inputs` from `onnxnnw/accounting/roles.py` and `onnxnnw/graph/uses.py`.
An input, operator or domain that is not listed is *not understood*: what stands there is counted in bytes, never as
known. So is what is too large for its place. Of operators with any number of inputs, what is said of the first holds for all.

- **weight**: read as a slot, from {MIN_ELEMENTS} elements on; **table**: read as it is stored, and never part of a mark;
- **parameter**: fewer than {MAX_STRUCTURAL} elements, or one number for each channel of some weight;
- **structural**: up to {MAX_STRUCTURAL} elements, or values that all follow a formula.

That is said of each by itself. Together, parameters beyond six for each channel of the weights, structural constants beyond
sixteen for each node, and attributes of one operator beyond {MAX_STRUCTURAL} different values may be a layer cut into pieces:
a weight that was not found is then not *absent*.

| operator | input | what | reason |
|---|---|---|---|
"""


def page() -> str:
    """The page's content."""
    roles, weights = table(), uses()
    return _HEAD + "".join(
        f"| {op} | {place} | {what} | {reason} |\n"
        for op in sorted({*roles, *weights})
        for place, what, reason in _rows(roles.get(op, {}), weights.get(op, ()))
    )


def _rows(roles: Mapping[int, Role], weights: tuple[Use, ...]) -> Iterator[tuple[str, str, str]]:
    """One row for neighbouring inputs of which the same is said."""
    said = {place: (role.kind, role.reason) for place, role in roles.items()}
    for use in weights:
        kind = "table" if use.layout in AS_TABLE else "weight"
        other = f", else {said[use.weight][0]}: {said[use.weight][1]}" if use.weight in said else ""
        said[use.weight] = kind, f"read as {use.layout.replace('_', ' ')}{other}"
    start = None
    for place in sorted(said):
        start = place if start is None else start
        if said.get(place + 1) != said[place]:
            yield (f"{start}" if start == place else f"{start} to {place}", *said[place])
            start = None


def main(arguments: list[str]) -> int:
    """Write the page."""
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page())
    return 0
