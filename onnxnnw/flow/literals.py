"""Constants that a node holds in its attributes."""

from onnx import AttributeProto, TensorProto

__all__ = ["ATTRIBUTE_TYPES", "LITERALS"]

ATTRIBUTE_TYPES = {
    "value": AttributeProto.TENSOR,
    "sparse_value": AttributeProto.SPARSE_TENSOR,
    "value_float": AttributeProto.FLOAT,
    "value_floats": AttributeProto.FLOATS,
    "value_int": AttributeProto.INT,
    "value_ints": AttributeProto.INTS,
    "value_string": AttributeProto.STRING,
    "value_strings": AttributeProto.STRINGS,
}


LITERALS = {
    "value_float": ("f", False, TensorProto.FLOAT, "<f4"),
    "value_floats": ("floats", True, TensorProto.FLOAT, "<f4"),
    "value_int": ("i", False, TensorProto.INT64, "<i8"),
    "value_ints": ("ints", True, TensorProto.INT64, "<i8"),
}
