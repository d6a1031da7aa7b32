"""An ONNX file as weights: laws, references, refusals."""
