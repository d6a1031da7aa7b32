"""The Merkle tree of RFC 9162, section 2.1, over SHA-256: heads and proofs from stored hashes of whole subtrees.

A *node* is the hash of a whole subtree: (0, k) of leaf k, (level, k) of the 2^level leaves from k 2^level on. Whole subtrees never
change again, so what is stored is only ever added to; a head or a proof of any size reads a few of them.
"""

import hashlib
from collections.abc import Callable, Iterator, Sequence

__all__ = [
    "EMPTY",
    "HASH_BYTES",
    "consistency_proof",
    "head",
    "inclusion_proof",
    "leaf_hash",
    "nodes_of",
    "verify_consistency",
    "verify_inclusion",
]

HASH_BYTES = 32
EMPTY = hashlib.sha256(b"").digest()
"""The head of a tree without leaves."""

Nodes = Callable[[int, int], bytes]
"""(level, place) -> hash of a whole subtree."""


def leaf_hash(entry: bytes) -> bytes:
    """The hash of an entry [RFC 9162, 2.1.1]."""
    return hashlib.sha256(b"\x00" + entry).digest()


def _inner(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def nodes_of(size: int, leaves: Sequence[bytes], nodes: Nodes) -> Iterator[tuple[int, int, bytes]]:
    """What appending leaves adds to the stored nodes: level, place, hash.

    Args:
        size: Number of leaves so far.
        leaves: Hashes of the leaves that are appended.
        nodes: The stored nodes; one is asked for where a subtree began before.
    """
    begun: dict[int, bytes] = {}  # by level, the left sibling of the next node there, where it is new
    for number, leaf in enumerate(leaves, size):
        level, place, found = 0, number, leaf
        yield level, place, found
        while place % 2:
            left = begun.pop(level) if level in begun else nodes(level, place - 1)
            level, place, found = level + 1, place // 2, _inner(left, found)
            yield level, place, found
        begun[level] = found


def head(size: int, nodes: Nodes) -> bytes:
    """The head of the first ``size`` leaves [RFC 9162, 2.1.1]."""
    return _range(0, size, nodes) if size else EMPTY


def _range(start: int, stop: int, nodes: Nodes) -> bytes:
    """The hash over leaves from ``start`` up to ``stop``, as the tree's definition splits them."""
    count = stop - start
    level = count.bit_length() - 1
    if count == 1 << level:
        return nodes(level, start >> level)
    split = start + _split(count)
    return _inner(_range(start, split, nodes), _range(split, stop, nodes))


def _split(count: int) -> int:
    """The largest power of two below a number of leaves, 2 or more."""
    return 1 << ((count - 1).bit_length() - 1)


def inclusion_proof(index: int, size: int, nodes: Nodes) -> list[bytes]:
    """That a leaf is in the tree of the first ``size`` ones [RFC 9162, 2.1.3.1]: from its sibling up."""
    assert 0 <= index < size
    start, stop, out = 0, size, []
    while stop - start > 1:
        split = start + _split(stop - start)
        if index < split:
            out.append(_range(split, stop, nodes))
            stop = split
        else:
            out.append(_range(start, split, nodes))
            start = split
    return out[::-1]


def consistency_proof(old: int, new: int, nodes: Nodes) -> list[bytes]:
    """That the tree of ``new`` leaves begins with that of ``old`` [RFC 9162, 2.1.4.1]; empty where there is nothing to prove."""
    assert 0 <= old <= new
    if old in (0, new):
        return []
    start, stop, whole, out = 0, new, True, []
    while old != stop:
        split = start + _split(stop - start)
        if old <= split:
            out.append(_range(split, stop, nodes))
            stop = split
        else:
            out.append(_range(start, split, nodes))
            start, whole = split, False
    if not whole:
        out.append(_range(start, stop, nodes))
    return out[::-1]


def verify_inclusion(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether a proof shows that a leaf's hash is in the tree with this head [RFC 9162, 2.1.3.2]."""
    if not 0 <= index < size:
        return False
    place, last, found = index, size - 1, leaf
    for sibling in proof:
        if last == 0:
            return False
        if place % 2 or place == last:
            found = _inner(sibling, found)
            while place % 2 == 0 and place:
                place, last = place >> 1, last >> 1
        else:
            found = _inner(found, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and found == root


def verify_consistency(old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> bool:
    """Whether a proof shows that the newer tree begins with the older one [RFC 9162, 2.1.4.2].

    A tree without leaves is the beginning of every tree, and needs no proof.
    """
    if not 0 <= old <= new:
        return False
    if old == new:
        return not proof and old_root == new_root
    if old == 0:
        return not proof and old_root == EMPTY
    path = [*proof] if old & (old - 1) else [old_root, *proof]
    if not path:
        return False
    place, last = old - 1, new - 1
    while place % 2:
        place, last = place >> 1, last >> 1
    of_old = of_new = path[0]
    for sibling in path[1:]:
        if last == 0:
            return False
        if place % 2 or place == last:
            of_old, of_new = _inner(sibling, of_old), _inner(sibling, of_new)
            while place % 2 == 0 and place:
                place, last = place >> 1, last >> 1
        else:
            of_new = _inner(of_new, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and of_old == old_root and of_new == new_root
