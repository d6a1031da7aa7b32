"""The bytes of a network: tensors by name and extent, whatever the container; read on demand, changed by the byte."""
