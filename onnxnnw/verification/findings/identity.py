"""Identity: which stored tensors changed since the network left, if digests were asked for."""

from onnxnnw.graph.digest import DIGEST_FORMAT
from onnxnnw.records.record import TENSOR_DIGEST
from onnxnnw.verification.findings.base import Examination, Finding, share

__all__ = ["find"]

SHOWN, LISTED = 3, 200


def find(examination: Examination) -> list[Finding]:
    """Tensors whose content is nowhere in the candidate, under whatever name; biases and normalisation included."""
    digests, record = examination.digests, examination.record
    kept = record.tensor_digests() if digests is not None else {}
    if digests is None or not kept or digests.network == record.derived.get("digest"):
        return []
    present = {digest[:TENSOR_DIGEST] for digest in (*digests.tensors.values(), *digests.as_inputs)}
    different = [name for name, digest in kept.items() if digest not in present]
    if not different:
        if record.derived.get("digest_format") != DIGEST_FORMAT:
            as_they_left = f"all {len(kept):,} stored tensors are as they left"
            sentence = f"{as_they_left}; the record's digest is of an older kind, which vouches for less"
            return [Finding("older digest", sentence, {"tensors": len(kept)})]
        sentence = f"all {len(kept):,} stored tensors are as they left, but the graph around them differs"
        return [Finding("graph differs", sentence, {"tensors": len(kept)})]
    names = ", ".join(different[:SHOWN]) + (", …" if len(different) > SHOWN else "")
    return [
        Finding(
            "tensors differ",
            f"{share(len(different), len(kept))} stored tensors are not bit for bit as they left: {names}",
            {"tensors": len(different), "of": len(kept)},
            {name: {"differs": 1} for name in different[:LISTED]},
        )
    ]
