"""Traceability of neural networks: mark or fingerprint an ONNX network once, prove its origin later.

import onnxnnw
onnxnnw.embed("net.onnx", "marked.onnx", "net.record")
onnxnnw.verify("suspect.onnx", [onnxnnw.load_record("net.record")])[0].decision
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from onnxnnw.enrolment import Enrolment, Owner, embed, fingerprint
    from onnxnnw.errors import TraceabilityError
    from onnxnnw.graph import network_digest, open_network
    from onnxnnw.keys import Key
    from onnxnnw.records import Record, load_record
    from onnxnnw.verdict import Verdict
    from onnxnnw.verification import search, verify

__version__ = "0.1.0"

__all__ = [
    "Enrolment",
    "Key",
    "Owner",
    "Record",
    "TraceabilityError",
    "Verdict",
    "__version__",
    "embed",
    "fingerprint",
    "load_record",
    "network_digest",
    "open_network",
    "search",
    "verify",
]

_ROOMS = {
    "Enrolment": "enrolment",
    "Owner": "enrolment",
    "embed": "enrolment",
    "fingerprint": "enrolment",
    "TraceabilityError": "errors",
    "network_digest": "graph",
    "open_network": "graph",
    "Key": "keys",
    "Record": "records",
    "load_record": "records",
    "Verdict": "verdict",
    "search": "verification",
    "verify": "verification",
}


def __getattr__(name: str) -> Any:
    """Public names arrive when they are asked for: importing the package costs next to nothing."""
    if name in _ROOMS:
        return getattr(import_module(f"onnxnnw.{_ROOMS[name]}"), name)
    raise AttributeError(f"module 'onnxnnw' has no attribute {name!r}")
