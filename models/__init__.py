"""Cards and small trained networks (installed as ``onnxnnw.models``)."""
