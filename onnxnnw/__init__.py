"""Traceability of neural networks: mark or fingerprint an ONNX network once, prove its origin later.

import onnxnnw
onnxnnw.embed("net.onnx", "marked.onnx", "net.record")
onnxnnw.verify("suspect.onnx", "net.record").best.decision
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnxnnw.enrolment.enrol import Enrolment, embed, fingerprint
    from onnxnnw.enrolment.owner import Owner
    from onnxnnw.errors import TraceabilityError
    from onnxnnw.graph.digest import network_digest
    from onnxnnw.network_file.file import open_network
    from onnxnnw.records.key import Key
    from onnxnnw.records.record import Record
    from onnxnnw.records.record_file import load_record
    from onnxnnw.verification.verdict import Verdict
    from onnxnnw.verification.verdicts import Verdicts
    from onnxnnw.verification.verify import search, verify

__version__ = "0.2.0"

__all__ = [
    "Enrolment",
    "Key",
    "Owner",
    "Record",
    "TraceabilityError",
    "Verdict",
    "Verdicts",
    "__version__",
    "embed",
    "fingerprint",
    "load_record",
    "network_digest",
    "open_network",
    "search",
    "verify",
]

_MODULES = {
    "Enrolment": "enrolment.enrol",
    "Owner": "enrolment.owner",
    "embed": "enrolment.enrol",
    "fingerprint": "enrolment.enrol",
    "TraceabilityError": "errors",
    "network_digest": "graph.digest",
    "open_network": "network_file.file",
    "Key": "records.key",
    "Record": "records.record",
    "load_record": "records.record_file",
    "Verdict": "verification.verdict",
    "Verdicts": "verification.verdicts",
    "search": "verification.verify",
    "verify": "verification.verify",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used: importing the package costs next to nothing."""
    if name in _MODULES:
        return getattr(import_module(f"onnxnnw.{_MODULES[name]}"), name)
    raise AttributeError(f"module 'onnxnnw' has no attribute {name!r}")


def __dir__() -> list[str]:
    """The public names, so that a prompt completes them."""
    return sorted(__all__)
