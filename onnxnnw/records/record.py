"""The record that a tracker keeps: slots, values and parameters by name, independent of the method.

On disk a record is canonical JSON (sorted keys; integers, strings and base64 arrays, no floats, no duplicate keys),
mode 0600. It has three parts: ``bound`` (everything verification uses; the mark depends on every bit of it),
``derived`` (what follows from the bound part) and ``unbound`` (what was measured later). Format: docs/reference/record-format.md.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxnnw.errors import UnreadableRecord, UsageError
from onnxnnw.records.canonical_json import (
    ARRAY_TYPES,
    array_from_json,
    array_to_base64,
    canonical,
    integer,
    parse,
    quoted,
    text,
)
from onnxnnw.records.fields import MAX_TENSORS, account_bytes, key_from_json, positions_key_of
from onnxnnw.records.key import Key, key_digest
from onnxnnw.records.shared_parts import SharedParts
from onnxnnw.records.skeleton import SkeletonIndex
from onnxnnw.records.slot_table import SlotEntry, table_bytes
from onnxnnw.standard.grids import ROLES

__all__ = ["FORMAT", "FORMAT_WITH_HOST", "ROLES", "Record", "commitment_of", "one_line"]

FORMAT = "onnxnnw/record/1"
FORMAT_WITH_HOST = "onnxnnw/record/2"
"""Of marks that were added to weights: the record binds what the weights were."""

FORMATS = (FORMAT, FORMAT_WITH_HOST)

MAX_BYTES = 64 * 2**20
MAX_POSITIONS = 2**24
TENSOR_DIGEST = 16
"""Hexadecimal digits that are kept of a tensor's digest: they name what differs, and prove nothing."""


@dataclass(frozen=True)
class Record:
    """What a tracker keeps of one mark or fingerprint.

    Attributes:
        method: Name of the method, e.g. ``nct``.
        kind: ``watermark`` or ``fingerprint``.
        key: The secret.
        slots: The slot table.
        parameters: Integers and strings of the method.
        arrays: Arrays of the method, by name.
        actor, role, source_id, destination_id: Who; free text but the role.
        enrolled_digest: Canonical digest of the network at enrolment, before a mark was written.
        derived: What follows from the bound part: ``digest`` of the network as it left, and of its ``tensors``.
        unbound: What was measured later and binds nothing.
        account: What was stored in the network at enrolment; None in older records. See docs/reference/record-format.md.
        format: ``onnxnnw/record/1``, or 2 where values were added to what the record keeps.
        name: Of the file that it was read from; not part of the record.
        skeleton: Of the file around the slots; None in older records, and where it tells too little.
        positions_key: The secret of the positions, where it is not ``key``: copies for recipients share them. Its digest is bound.
    """

    method: str
    kind: str
    key: Key
    slots: tuple[SlotEntry, ...]
    parameters: Mapping[str, int | str]
    arrays: Mapping[str, NDArray[Any]] = field(repr=False)
    actor: str = ""
    role: str = ""
    source_id: str = ""
    destination_id: str = ""
    enrolled_digest: str = ""
    derived: Mapping[str, str] = field(default_factory=dict)
    unbound: Mapping[str, str] = field(default_factory=dict)
    account: Mapping[str, Any] | None = None
    format: str = FORMAT
    name: str = field(default="", compare=False)
    skeleton: SkeletonIndex | None = None
    positions_key: Key | None = None

    @property
    def is_for_recipient(self) -> bool:
        """Whether this is one of many copies of a network, marked at the positions of all of them."""
        return self.positions_key is not None

    @property
    def placement_key(self) -> Key:
        """The key from which positions, anchors and samples are drawn."""
        return self.key if self.positions_key is None else self.positions_key

    @cached_property
    def positions_context(self) -> bytes:
        """c1, the context of positions and anchors (format, method, slot table); asked for once per slot."""
        table = canonical({"format": self.format, "method": self.method})
        return hashlib.sha256(table[:-1] + b',"slots":' + table_bytes(self.slots) + b"}").digest()

    @cached_property
    def values_context(self) -> bytes:
        """c2, the context of mark values: everything that verification uses."""
        return hashlib.sha256(self._bound_bytes()).digest()

    @property
    def number_of_positions(self) -> int:
        """N, for methods that draw positions."""
        return self.integer("positions")

    def integer(self, name: str) -> int:
        """An integer parameter.

        Raises:
            UnreadableRecord: It is missing or no integer.
        """
        value = self.parameters.get(name)
        if not isinstance(value, int):
            raise UnreadableRecord(f"the record's parameter {name!r} is missing or no integer")
        return value

    def array(self, name: str, size: int | None = None) -> NDArray[Any]:
        """An array of the method, checked for its size.

        Raises:
            UnreadableRecord: It is missing, has another size, or holds a number that is not finite.
        """
        value = self.arrays.get(name)
        if value is None or (size is not None and value.size != size):
            raise UnreadableRecord(f"the record's array {name!r} is missing or has another length than its positions")
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise UnreadableRecord(f"the record's array {name!r} holds numbers that are not finite")
        return value

    def with_unbound(self) -> "Record":
        """The same record with the unbound arrays among its own, where the bound part has none of that name.

        They may help to find slots and to describe what happened; nothing that is judged may rest on them.

        Raises:
            UnreadableRecord: One is damaged.
        """
        later: dict[str, NDArray[Any]] = {}
        for name, packed in self.unbound.items():
            dtype, _, data = packed.partition(":")
            if dtype in ARRAY_TYPES:
                try:
                    later[name] = array_from_json({"dtype": dtype, "data": data})
                except ValueError:
                    raise UnreadableRecord(f"the record's unbound array {name!r} is damaged") from None
        return replace(self, arrays={**later, **self.arrays})

    def with_measured(self, **arrays: NDArray[Any]) -> "Record":
        """The same record with arrays that were measured later."""
        texts = {}
        for name, array in arrays.items():
            dtype, data = array_to_base64(array)
            texts[name] = f"{dtype}:{data.decode()}"
        return replace(self, unbound={**self.unbound, **texts})

    def with_key(self, key: Key) -> "Record":
        """The same record under another secret."""
        return replace(self, key=key)

    def with_derived(self, **derived: str) -> "Record":
        """The same record with more derived entries."""
        return replace(self, derived={**self.derived, **derived})

    def _bound_bytes(self) -> bytes:
        """Canonical JSON of the bound part. Its arrays are megabytes for many layers: they are put in as they are."""
        others = {
            "format": self.format,
            "method": self.method,
            "kind": self.kind,
            "parameters": dict(self.parameters),
            "role": self.role,
            "destination_id": self.destination_id,
            "enrolled_digest": self.enrolled_digest,
        }
        if self.skeleton is not None:  # which older records do not have
            others["skeleton"] = self.skeleton.to_json()
        if self.positions_key is not None:
            others["recipient"] = {"positions": key_digest(self.positions_key), "version": 1}
        parts = [b'{"actor":', canonical(self.actor), b',"arrays":{']  # the first two in the order of keys
        if self.account is not None:  # and one before them, which older records do not have
            parts[0] = b'{"account":' + account_bytes(self.account) + b',"actor":'
        for number, (name, array) in enumerate(sorted(self.arrays.items())):
            dtype, data = array_to_base64(array)
            parts += [
                b"," * (number > 0),
                quoted(name),
                b':{"data":"',
                data,
                b'","dtype":',
                quoted(dtype),
                b"}",
            ]
        last = [
            b',"slots":',
            table_bytes(self.slots),
            b',"source_id":',
            canonical(self.source_id),
            b"}",
        ]  # in this order too
        return b"".join([*parts, b"},", canonical(others)[1:-1], *last])

    def _parts(self) -> tuple[bytes, bytes, bytes]:
        """The file's content: what stands before the bound part, that part, and what follows."""
        others = {
            "format": self.format,
            "secret": base64.b64encode(self.key.secret).decode(),
            "derived": dict(self.derived),
            "unbound": dict(self.unbound),
        }
        if self.positions_key is not None:
            others["positions_secret"] = base64.b64encode(self.positions_key.secret).decode()
        return b'{"bound":', self._bound_bytes(), b"," + canonical(others)[1:] + b"\n"

    def with_digests(self, network: str, tensors: Mapping[str, str], digest_format: str, graph: str) -> "Record":
        """The same record with the digests of the network as it left.

        Args:
            network: Its canonical digest.
            tensors: Digest of each stored tensor, by name; left out where there are very many.
            digest_format: How they were made.
            graph: Digest of its graph without weights.
        """
        known = {"digest": network, "digest_format": digest_format, "graph": graph}
        if len(tensors) > MAX_TENSORS:
            return self.with_derived(**known)
        short = {name: digest[:TENSOR_DIGEST] for name, digest in tensors.items()}
        return self.with_derived(**known, tensors=canonical(short).decode())

    def tensor_digests(self) -> dict[str, str]:
        """The beginning of the digest of each stored tensor as the network left, by name; empty where none are kept.

        Raises:
            UnreadableRecord: They are damaged.
        """
        try:
            found = json.loads(self.derived.get("tensors", "{}"))
            return {text(name): text(digest) for name, digest in found.items()}
        except (ValueError, AttributeError, RecursionError):
            raise UnreadableRecord("the record's digests of tensors are damaged") from None

    def to_bytes(self) -> bytes:
        """The file's content."""
        return b"".join(self._parts())

    @cached_property
    def commitment(self) -> str:
        """SHA-256 of the file's content, to be published before the network is released."""
        return commitment_of(self.to_bytes())

    @classmethod
    def from_bytes(cls, content: bytes, shared: SharedParts | None = None) -> "Record":
        """A record from a file's content.

        Args:
            shared: Parts of records that were read before, where there are many.

        Raises:
            UnreadableRecord: Not a record, damaged, or of an unknown format.
        """
        try:
            record = _from_document(parse(content), shared or SharedParts(for_more=False))
            before, bound, after = record._parts()
            if (  # one record, one commitment; and nothing in a file is passed over
                len(content) != len(before) + len(bound) + len(after)
                or not content.startswith(before)
                or not content.startswith(bound, len(before))
                or not content.endswith(after)
            ):
                raise UnreadableRecord("not in canonical form, so not as it was written")
            # Both are asked for later, when nobody has these bytes any more; nor need they be written again.
            vars(record).update(values_context=hashlib.sha256(bound).digest(), commitment=commitment_of(content))
            return record
        except UnreadableRecord:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError, UsageError) as error:
            what = one_line(error) if content.startswith(b"{") else "it does not begin as records do"
            raise UnreadableRecord(f"not a readable record: {what}") from None


def commitment_of(content: bytes) -> str:
    """SHA-256 of a record file's bytes, to be published before the network is released."""
    return hashlib.sha256(content).hexdigest()


def _from_document(document: Any, shared: SharedParts) -> Record:
    if not isinstance(document, dict) or document.get("format") not in FORMATS:
        raise UnreadableRecord(f"not a record of the format {' or '.join(FORMATS)}")
    bound = document["bound"]
    if bound["format"] != document["format"]:
        raise UnreadableRecord("the bound part is of another format")
    parameters = {}
    for name, value in bound["parameters"].items():
        parameters[name] = value if isinstance(value, str) else integer(value)
    positions = parameters.get("positions")
    if positions is not None and (not isinstance(positions, int) or not 1 <= positions <= MAX_POSITIONS):
        raise UnreadableRecord("an impossible number of positions")
    arrays = {name: array_from_json(array) for name, array in bound["arrays"].items()}
    if positions is not None and positions > sum(array.size for array in arrays.values()):  # each has a value or a gain
        raise UnreadableRecord("more positions than values")
    slots = shared.table(bound["slots"])
    if sum(slot.capacity for slot in slots) >= 2**62:
        raise UnreadableRecord("slots of an impossible size")
    role = text(bound["role"])
    if role and role not in ROLES:
        raise UnreadableRecord(f"the unknown role {role[:80]!r}")
    return Record(
        method=text(bound["method"]),
        kind=text(bound["kind"]),
        key=key_from_json(document["secret"]),
        slots=slots,
        parameters=parameters,
        arrays=arrays,
        actor=text(bound["actor"]),
        role=role,
        source_id=text(bound["source_id"]),
        destination_id=text(bound["destination_id"]),
        enrolled_digest=text(bound["enrolled_digest"]),
        account=shared.account(bound["account"]) if "account" in bound else None,
        format=bound["format"],
        skeleton=SkeletonIndex.from_json(bound["skeleton"], slots) if "skeleton" in bound else None,
        derived={name: text(value) for name, value in document["derived"].items()},
        unbound={name: text(value) for name, value in document["unbound"].items()},
        positions_key=positions_key_of(document),
    )


def one_line(error: Exception) -> str:
    """An error message in one line."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]
