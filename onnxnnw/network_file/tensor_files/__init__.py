"""More formats that hold tensors and no graph that is read here: GGUF, and onnxruntime's own."""
