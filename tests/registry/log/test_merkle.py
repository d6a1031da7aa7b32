"""The log's tree: the heads that certificate transparency publishes, the proofs of the RFC's example, and laws of any tree."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxnnw.registry.log import merkle

LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
HEADS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


class Tree:
    """Stored nodes, in memory."""

    def __init__(self, entries: list[bytes] = []) -> None:  # noqa: B006
        self.nodes: dict[tuple[int, int], bytes] = {}
        self.size = 0
        self.append(entries)

    def append(self, entries: list[bytes]) -> None:
        new = list(merkle.nodes_of(self.size, [merkle.leaf_hash(entry) for entry in entries], self.node))
        assert not {(level, place) for level, place, _ in new} & self.nodes.keys()
        self.nodes |= {(level, place): found for level, place, found in new}
        self.size += len(entries)

    def node(self, level: int, place: int) -> bytes:
        return self.nodes[level, place]


def as_defined(hashes: list[bytes]) -> bytes:
    """The head by the RFC's own recursion, whole lists at a time."""
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while 2 * split < len(hashes):
        split *= 2
    import hashlib

    return hashlib.sha256(b"\x01" + as_defined(hashes[:split]) + as_defined(hashes[split:])).digest()


def test_heads_are_those_that_are_published() -> None:
    """The vectors of certificate transparency's reference, for each size up to eight."""
    tree = Tree([bytes.fromhex(leaf) for leaf in LEAVES])
    assert [merkle.head(size, tree.node).hex() for size in range(9)] == HEADS
    assert merkle.EMPTY.hex() == HEADS[0]


def test_proofs_are_those_of_the_example() -> None:
    """RFC 9162, 2.1.5: the tree of seven leaves d0 to d6, with a to j named as there."""
    tree = Tree([f"d{k}".encode() for k in range(7)])
    n = tree.node
    a, b, c, d, e, f, j = (n(0, k) for k in range(7))
    g, h, i = (n(1, k) for k in range(3))
    k, left = merkle._range(4, 7, n), n(2, 0)
    assert k == merkle._inner(i, j)
    assert merkle.inclusion_proof(0, 7, n) == [b, h, k]
    assert merkle.inclusion_proof(3, 7, n) == [c, g, k]
    assert merkle.inclusion_proof(4, 7, n) == [f, j, left]
    assert merkle.inclusion_proof(6, 7, n) == [i, left]
    assert merkle.consistency_proof(3, 7, n) == [c, d, g, k]
    assert merkle.consistency_proof(4, 7, n) == [k]
    assert merkle.consistency_proof(6, 7, n) == [i, j, left]
    assert {a, e}


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.data())
def test_every_proof_verifies_and_none_does_after_a_change(batches: list[int], data: st.DataObject) -> None:
    """Appended in whatever batches: heads as defined, all proofs good, each changed one bad."""
    tree, entries = Tree(), []
    for batch in batches:
        new = [f"{len(entries)} {k}".encode() for k in range(batch)]
        tree.append(new)
        entries += new
    hashes = [merkle.leaf_hash(entry) for entry in entries]
    size = len(entries)
    for cut in range(1, size + 1):
        assert merkle.head(cut, tree.node) == as_defined(hashes[:cut])
    if not size:
        return
    root = merkle.head(size, tree.node)
    index = data.draw(st.integers(0, size - 1))
    proof = merkle.inclusion_proof(index, size, tree.node)
    assert merkle.verify_inclusion(index, size, hashes[index], proof, root)
    other = hashes[(index + 1) % size]
    wrong = [
        (index, size, other, proof, root) if size > 1 else (1, size, other, proof, root),
        (index + size, size, hashes[index], proof, root),
        (-1, size, hashes[index], proof, root),
        (index, size, hashes[index], [*proof, root], root),
        (index, size, hashes[index], proof, bytes(32)),
        *[(index, size, hashes[index], [*proof[:k], bytes(32), *proof[k + 1 :]], root) for k in range(len(proof))],
        *([(index, size, hashes[index], proof[:-1], root)] if proof else []),
    ]
    assert not any(merkle.verify_inclusion(*each) for each in wrong)
    old = data.draw(st.integers(0, size))
    older = merkle.head(old, tree.node)
    path = merkle.consistency_proof(old, size, tree.node)
    assert merkle.verify_consistency(old, size, path, older, root)
    wrong_paths = [
        (old, size, [*path, root], older, root),
        (size + 1, size, path, older, root),
        (old, size, path, bytes(32), root),
        *[(old, size, [*path[:k], bytes(32), *path[k + 1 :]], older, root) for k in range(len(path))],
        *([(old, size, path[:-1], older, root)] if path else []),
        *([(old, size, path, older, bytes(32))] if old else []),
    ]
    assert not any(merkle.verify_consistency(*each) for each in wrong_paths)


@pytest.mark.parametrize("size", [2, 3, 7, 8, 33])
def test_a_log_that_was_rewritten_is_not_consistent(size: int) -> None:
    """One older entry changed, then grown: no proof of the new tree fits the older head."""
    entries = [f"entry {k}".encode() for k in range(size)]
    tree = Tree(entries)
    older = merkle.head(size, tree.node)
    for changed in range(size):
        other = Tree([*entries[:changed], b"other", *entries[changed + 1 :], b"new"])
        path = merkle.consistency_proof(size, size + 1, other.node)
        assert not merkle.verify_consistency(size, size + 1, path, older, merkle.head(size + 1, other.node))
