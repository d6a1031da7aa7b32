"""An ONNX file as weights: read on demand, named by use, patched byte by byte."""
