"""Modifications of a network [NNW-TEC 3]: found by name, one file per kind."""

from onnxnnw.modifications.base import Modification, find_modification, modification_names

__all__ = ["Modification", "find_modification", "modification_names"]
