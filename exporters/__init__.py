"""The reference networks in PyTorch, and their export to ONNX (installed as ``onnxnnw.exporters``)."""
