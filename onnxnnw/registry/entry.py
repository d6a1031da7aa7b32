"""A record as a registry lists it, and which of them are meant."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from onnxnnw.records.canonical_json import canonical

__all__ = ["Added", "Filters", "RegistryEntry", "digest_of"]


@dataclass(frozen=True)
class Filters:
    """Which records are meant; empty texts mean all."""

    method: str = ""
    kind: str = ""
    actor: str = ""
    destination_id: str = ""
    network: str = ""
    revoked: bool | None = None


@dataclass(frozen=True)
class RegistryEntry:
    """A record as a registry lists it.

    Attributes:
        number: Its place in the registry.
        network: Name of the network, as it was given.
        added_at, revoked_at: UTC; the latter None where it holds.
        reason: Why it was revoked.
    """

    number: int
    commitment: str
    method: str
    kind: str
    actor: str
    role: str
    source_id: str
    destination_id: str
    network: str
    added_at: str
    revoked_at: str | None
    reason: str | None

    @property
    def digest(self) -> str:
        """SHA-256 of all that a registry lists of the record."""
        return digest_of(vars(self))

    def to_json(self) -> dict[str, Any]:
        """The documented form, see docs/reference/registry-formats.md."""
        return dict(vars(self))


def digest_of(listed: Mapping[str, Any]) -> str:
    """SHA-256 of what a registry lists of a record; its number is left out, for it is not known before the row is there."""
    kept = {name: listed.get(name) for name in RegistryEntry.__dataclass_fields__ if name != "number"}
    return hashlib.sha256(canonical(kept)).hexdigest()


@dataclass(frozen=True)
class Added:
    """What came of adding: commitments that are new, and those that were there already."""

    new: tuple[str, ...]
    known: tuple[str, ...]
