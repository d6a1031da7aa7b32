"""An ONNX file as weights: read on demand, named by use, changed by the byte."""

from onnxnnw.graph.digest import Digests, network_digest, network_digests
from onnxnnw.graph.file import Network, open_network
from onnxnnw.graph.patch import Edit, rewritten, write_patched
from onnxnnw.graph.slots import Slot, SlotView, find_slots
from onnxnnw.graph.stored import StoredTensor

__all__ = [
    "Digests",
    "Edit",
    "Network",
    "Slot",
    "SlotView",
    "StoredTensor",
    "find_slots",
    "network_digest",
    "network_digests",
    "open_network",
    "rewritten",
    "write_patched",
]
