"""Two interfaces of a registry: how bytes are stored at rest, and what is called when records are added."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["Logged", "Plain", "Vault"]


class Vault(Protocol):
    """Keeps bytes at rest; see ``Plain`` for the one that changes nothing."""

    def seal(self, content: bytes, place: str) -> bytes:
        """What is stored; ``place`` names what it belongs to."""

    def open(self, stored: bytes, place: str) -> bytes:
        """What was sealed.

        Raises:
            UnreadableRegistry: It was changed, or belongs somewhere else.
        """


class Plain:
    """Bytes are kept as they are."""

    def seal(self, content: bytes, place: str) -> bytes:
        return content

    def open(self, stored: bytes, place: str) -> bytes:
        return stored


Logged = Callable[["Connection", Sequence[str]], None]
"""Appends commitments to the log, in the transaction that adds their records."""
