"""More formats that hold tensors and no graph: GGUF."""
