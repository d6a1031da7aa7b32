"""Add sketches of weights to a record: they show a permuted or rescaled copy without a reference network."""

from dataclasses import replace

import numpy as np

from onnxnnw.alignment.sketch import sketches_of
from onnxnnw.alignment.weights import weights_of
from onnxnnw.graph.slot_view import SlotView
from onnxnnw.records.record import Record

__all__ = ["with_sketches"]


def with_sketches(record: Record, view: SlotView) -> Record:
    """The same record with the sketches in its bound part; so before anything is derived from it.

    Args:
        view: The slots of which the record was made.
    """
    sketches = sketches_of(weights_of(view))
    kept = {"sketch": sketches.values.reshape(-1).astype("<f4"), "sketch_slots": np.array(sketches.slots, "<i8")}
    return replace(record, arrays={**record.arrays, **kept})
