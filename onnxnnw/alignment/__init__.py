"""Which channel of one network is which of another: orders, scales and signs, from the weights alone.

``align_matrices`` holds two weights together, ``align_networks`` all weights of two networks.
"""

from onnxnnw.alignment.matrices import MatrixAlignment, align_matrices
from onnxnnw.alignment.networks import NetworkAlignment, SlotAlignment, align_networks
from onnxnnw.alignment.weights import Weight, weight_of, weights_of

__all__ = [
    "MatrixAlignment",
    "NetworkAlignment",
    "SlotAlignment",
    "Weight",
    "align_matrices",
    "align_networks",
    "weight_of",
    "weights_of",
]
