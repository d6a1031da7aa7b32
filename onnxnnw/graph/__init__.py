"""An ONNX file as weights: read on demand, named by use, changed by the byte."""
