"""Many streams at once give what each gives alone."""

import numpy as np
import pytest

from onnxnnw.errors import CapacityError
from onnxnnw.records.drawn_together import indices_of_many
from onnxnnw.records.key import Key

CONTEXT = bytes(32)
NONE = np.empty(0, np.int64)


@pytest.mark.parametrize("streams", [0, 1, 5, 400])
def test_they_are_the_indices_of_each_stream(streams: int) -> None:
    """With repeats, rejected words and barred indices; large limits, powers of two and small ones; different counts."""
    rng, key = np.random.default_rng(streams), Key(bytes(range(32)))
    below = [int(n) for n in rng.choice([70, 4096, 4097, 10**6, 2**61 + 1, 2**62 - 1], streams)]
    counts = [int(n) for n in rng.choice([0, 1, 8, 32], streams)]
    barred = [rng.choice(min(n, 300), int(rng.integers(0, 38)), replace=False) for n in below]
    together = indices_of_many(key, "some", CONTEXT, counts, below, barred)
    alone = [
        key.stream(f"some/{number}", CONTEXT).indices(count, below[number], barred[number].tolist())
        for number, count in enumerate(counts)
    ]
    assert len(together) == streams
    assert all(np.array_equal(one, other) for one, other in zip(together, alone, strict=True))


def test_too_few_are_an_error() -> None:
    """As they are where one stream is drawn from."""
    with pytest.raises(CapacityError):
        indices_of_many(Key(bytes(32)), "some", CONTEXT, [9] * 40, [8] * 40, [NONE] * 40)
