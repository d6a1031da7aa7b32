"""An ONNX file as weights: read on demand, named by use, changed by the byte."""

from onnxnnw.graph.digest import Digests, network_digest, network_digests
from onnxnnw.graph.slot import Slot
from onnxnnw.graph.slots import SlotView, find_slots

__all__ = [
    "Digests",
    "Slot",
    "SlotView",
    "find_slots",
    "network_digest",
    "network_digests",
]
