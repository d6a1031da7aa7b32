"""Traceability of neural networks: mark or fingerprint an ONNX network once, prove its origin later."""

__version__ = "0.1.0"
