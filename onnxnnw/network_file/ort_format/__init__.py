"""onnxruntime's own format (.ort): a whole network as a flatbuffer."""
