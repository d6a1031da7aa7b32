"""A record as a registry lists it, and which of them are meant."""

from dataclasses import dataclass
from typing import Any

__all__ = ["Added", "Entry", "Filters"]


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
class Entry:
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

    def to_json(self) -> dict[str, Any]:
        """The documented form, see docs/reference/registry-formats.md."""
        return dict(vars(self))


@dataclass(frozen=True)
class Added:
    """What came of adding: commitments that are new, and those that were there already."""

    new: tuple[str, ...]
    known: tuple[str, ...]
