"""Streams: laws, distributions, and the published vectors."""

import hashlib
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from onnxnnw.errors import CapacityError, UsageError
from onnxnnw.records.key import BLOCK_BYTES, Key, Stream

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "keys.md"
CONTEXT = bytes(range(32))


def stream(number: int = 1, label: str = "test") -> Stream:
    """One of many fixed streams."""
    return Key(number.to_bytes(32, "big")).stream(label, CONTEXT)


def test_blocks_are_what_the_documentation_defines() -> None:
    """Block j is SHAKE256 of prefix, secret, label with its length, context and block number."""
    secret, label = bytes(range(32)), "nct/positions"
    expected = b"".join(
        hashlib.shake_256(
            b"onnxnnw/stream/1\0" + secret + len(label).to_bytes(2, "little") + label.encode() + CONTEXT
            + number.to_bytes(8, "little")
        ).digest(32768)
        for number in range(3)
    )  # fmt: skip
    assert Key(secret).stream(label, CONTEXT).take(3 * 32768) == expected


@given(st.integers(0, 3 * BLOCK_BYTES), st.integers(0, 3 * BLOCK_BYTES))
def test_a_shorter_read_is_a_prefix_of_a_longer_one(first: int, second: int) -> None:
    """Also across blocks, so numbers do not depend on how many are asked for."""
    shorter, longer = sorted((first, second))
    assert stream().take(longer)[:shorter] == stream().take(shorter)


@given(st.integers(0, 400), st.integers(0, 400), st.integers(800, 5_000), st.sets(st.integers(0, 799), max_size=300))
def test_fewer_indices_are_a_prefix_of_more(first: int, second: int, below: int, barred: set[int]) -> None:
    """The order of acceptance does not depend on how many are drawn."""
    shorter, longer = sorted((first, second))
    drawn = stream().indices(longer, below, barred)
    assert drawn[:shorter].tolist() == stream().indices(shorter, below, barred).tolist()


@given(st.integers(1, 500), st.data())
def test_indices_are_distinct_in_range_and_avoid_what_is_excluded(below: int, data: st.DataObject) -> None:
    """Even when nearly all are drawn."""
    barred = data.draw(st.sets(st.integers(0, below - 1), max_size=below))
    count = data.draw(st.integers(0, below - len(barred)))
    drawn = stream(below).indices(count, below, barred).tolist()
    assert len(set(drawn)) == count == len(drawn)
    assert set(drawn) <= set(range(below)) - barred


def test_all_indices_can_be_drawn_and_not_one_more() -> None:
    """A permutation when all are wanted; beyond that an error that says how many are left."""
    assert sorted(stream().indices(1_000, 1_000).tolist()) == list(range(1_000))
    with pytest.raises(CapacityError, match="only 997 are left"):
        stream().indices(998, 1_000, [1, 2, 3])


@pytest.mark.parametrize("below", [2, 3, 97, 1_000])
def test_indices_and_labels_are_uniform(below: int) -> None:
    """Chi-square of first indices over many keys, and of labels within one stream."""
    first = np.array([stream(n).indices(1, below)[0] for n in range(4_000)])
    labels = stream().labels(100_000, below)
    for numbers in (first, labels):
        assert stats.chisquare(np.bincount(numbers, minlength=below)).pvalue > 1e-4


def test_every_index_is_equally_likely_at_every_place() -> None:
    """Without replacement, yet marginally uniform: the third of five is as uniform as the first."""
    drawn = np.array([stream(n).indices(5, 7) for n in range(3_000)])
    for column in drawn.T:
        assert stats.chisquare(np.bincount(column, minlength=7)).pvalue > 1e-4


@pytest.mark.parametrize("below", [2**62 + 1, 2**63 - 1, 2**63, 3 * 2**61 + 7])
def test_words_beyond_the_last_whole_multiple_are_rejected(below: int) -> None:
    """With limits near 2**63 up to half of the words go; without that, small indices would come twice as often."""
    words = np.frombuffer(stream().take(8 * 2_000), "<u8").tolist()
    multiple = 2**64 // below * below
    expected = [word % below for word in words if word < multiple]
    assert stream().indices(500, below).tolist() == expected[:500]
    assert stream().labels(500, below).tolist() == expected[:500]
    assert stats.kstest(np.array(expected) / below, "uniform").pvalue > 1e-4


def test_repeats_are_skipped_in_the_order_of_acceptance() -> None:
    """The definition, word by word."""
    words = np.frombuffer(stream().take(8 * 2_000), "<u8").tolist()
    expected = list(dict.fromkeys(word % 300 for word in words if word % 300 not in (5, 6)))
    assert stream().indices(200, 300, (5, 6)).tolist() == expected[:200]


def test_normals_are_the_sums_they_are_defined_as() -> None:
    """Bit for bit: sixteen words summed as integers, one subtraction, one division."""
    words = np.frombuffer(stream().take(64 * 100), "<u4").reshape(100, 16)
    expected = [(float(sum(map(int, row))) - 34359738360.0) / 4959401049.012478 for row in words]
    assert stream().normals(100).tolist() == expected


def test_normals_are_normal_up_to_their_known_shape() -> None:
    """Mean 0, variance 1, excess kurtosis -0.075, and the exact distribution of a sum of sixteen uniform numbers."""
    z = stream().normals(400_000)
    assert abs(z.mean()) < 4 / np.sqrt(z.size)
    assert abs(z.var() - 1) < 4 * np.sqrt(2 / z.size)
    assert abs(stats.kurtosis(z) + 1.2 / 16) < 4 * np.sqrt(24 / z.size)
    assert np.abs(z).max() < 6.93
    uniform = stats.irwinhall(16).cdf(z[:2_000] * np.sqrt(16 / 12) + 8)
    assert stats.kstest(uniform, "uniform").pvalue > 1e-4


def test_no_tail_of_the_normals_is_heavier_than_it_may_be() -> None:
    """Beyond 1.8 deviations the exact tail lies below the normal one, so sums of mark values are never too large."""
    z = np.linspace(1.8, 6.9, 200)
    exact = stats.irwinhall(16).sf(z * np.sqrt(16 / 12) + 8)
    assert (exact <= stats.norm.sf(z) * (1 + 1e-9)).all()


def test_bits_are_fair_and_the_lowest_of_their_bytes() -> None:
    """By definition and by count."""
    bits = stream().bits(80_000)
    assert bits.tolist() == [byte & 1 for byte in stream().take(80_000)]
    assert stats.binomtest(int(bits.sum()), bits.size).pvalue > 1e-4


def test_streams_of_different_key_label_or_context_share_nothing() -> None:
    """Changing any of the three changes all: no two in a thousand begin alike, and they do not correlate."""
    heads = {
        Key(n.to_bytes(32, "big")).stream(label, bytes([c]) * 32).take(16)
        for n in range(100) for label in ("a", "b", "ab", "b\0", "") for c in (0, 1)
    }  # fmt: skip
    assert len(heads) == 1_000
    first, second = stream(1).normals(100_000), stream(1, "other").normals(100_000)
    assert abs(np.corrcoef(first, second)[0, 1]) < 4 / np.sqrt(100_000)


def test_a_label_cannot_run_into_the_context() -> None:
    """The label's length is part of the input, so moving bytes from context to label gives another stream."""
    key = Key(bytes(32))
    assert key.stream("ab", b"c" * 32).take(8) != key.stream("abc", b"c" * 31 + b"d").take(8)


@pytest.mark.parametrize("secret", [b"", bytes(31), bytes(33), "0" * 32, bytearray(32)])
def test_a_secret_has_thirty_two_bytes(secret: object) -> None:
    """Anything else is wrong usage."""
    with pytest.raises(UsageError):
        Key(secret)  # type: ignore[arg-type]


def test_a_secret_is_never_shown() -> None:
    """Neither key nor stream prints it, and generated keys differ."""
    key = Key(b"s" * 32)
    assert "s" * 32 not in repr(key)
    assert "s" * 8 not in repr(key.stream("x", CONTEXT))
    assert Key.generate() != Key.generate()


def test_the_published_vectors_hold() -> None:
    """Every vector of the documentation is computed anew."""
    text = PAGE.read_text()
    vectors = re.findall(r"^\| `(\w+)\((.*?)\)` \| `(.*?)` \|$", text, re.MULTILINE)
    assert len(vectors) >= 10
    key = Key(bytes.fromhex(re.search(r"secret +`([0-9a-f]{64})`", text)[1]))  # type: ignore[index]
    context = bytes.fromhex(re.search(r"context +`([0-9a-f]{64})`", text)[1])  # type: ignore[index]
    named = key.stream(re.search(r"label +`(.+?)`", text)[1], context)  # type: ignore[index]
    for call, arguments, expected in vectors:
        numbers = [int(number) for number in arguments.split(",")]
        if call == "take":
            start, count = numbers
            assert named.take(start + count)[start:].hex() == expected
        elif call == "normals":
            assert [float(z).hex() for z in named.normals(*numbers)] == expected.split()
        else:
            assert getattr(named, call)(*numbers).tolist() == [int(n) for n in expected.split()]
