"""Signed parents: who signed a network or the one that its record was made of."""

from collections.abc import Sequence

from onnxnnw.errors import UnreadableData
from onnxnnw.evidence.keys import PublicKey
from onnxnnw.evidence.oms import bundle_beside, read_bundle
from onnxnnw.evidence.rules import RULES, Problem
from onnxnnw.evidence.subject import NetworkFiles, Signed
from onnxnnw.verification.visible import visible

__all__ = ["parent_problem", "signed_by"]


def signed_by(subject: NetworkFiles, keys: Sequence[PublicKey]) -> tuple[Signed, Problem | None]:
    """A network with what the signature beside it says, and why none of some keys signed it."""
    name = subject.model.name
    place = bundle_beside(subject.model.path)
    if place is None:
        return Signed(subject), Problem(RULES["NotSigned"], f"{name}: there is no signature beside it")
    try:
        bundle = read_bundle(place)
    except UnreadableData as error:
        return Signed(subject), Problem(RULES["AttestationUnusable"], visible(str(error)))
    wrong = bundle.problem(subject.files, keys)
    key = bundle.envelope.signer(keys)
    if wrong or key is None:
        return Signed(subject, bundle.root), Problem(RULES["NotSigned"], f"{name}: {wrong}")
    return Signed(subject, bundle.root, key.id), None


def parent_problem(parent: Signed, digests: Sequence[str]) -> Problem | None:
    """Why records do not lead to a network; None where one was made of it.

    Args:
        digests: Canonical digests of the networks that the records which match were made of.
    """
    if parent.subject.digest in digests:
        return None
    return Problem(RULES["OtherParent"], f"no record that matches was made of {parent.subject.model.name}")
