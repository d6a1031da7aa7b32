"""Payloads: a text as bits and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxnnw.errors import UsageError
from onnxnnw.methods.payload import decode_text, encode_text


@pytest.mark.slow
@given(st.text(max_size=20).filter(lambda text: not text.endswith("\0")), st.integers(0, 100))
def test_a_text_comes_back(text, spare):
    """Whatever fits is read as it was written, however many bits are left over."""
    count = 8 * len(text.encode()) + spare
    assert decode_text(encode_text(text, count)) == text


def test_a_payload_that_is_too_long_names_the_room():
    """64 bits are room for 8 bytes."""
    with pytest.raises(UsageError, match="needs 72 bits, but the mark carries 64, which is room for 8 bytes"):
        encode_text("nine char", 64)


def test_damage_is_shown_and_never_raises():
    """Any bits decode to some text."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        assert isinstance(decode_text(rng.integers(0, 2, 61).astype(np.uint8)), str)
