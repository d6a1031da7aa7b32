"""What records of one network have in common, read and written once where many are read: slot tables, and what else was stored."""

from collections.abc import Callable
from typing import Any, TypeVar

from onnxnnw.records.canonical_json import canonical
from onnxnnw.records.fields import EnrolledAccount, account_from_json
from onnxnnw.records.slot_table import SlotEntry, SlotTable

__all__ = ["SharedParts"]

Part = TypeVar("Part")

KNOWN = 16
"""Parts of a kind that are remembered."""


class SharedParts:
    """Parts of records that were read before, shared if written identically (``true`` and 1 are equal but differ).

    Args:
        for_more: Whether more records will be read; what one alone has is not kept.
    """

    def __init__(self, for_more: bool = True) -> None:
        self._for_more = for_more
        self._tables: list[tuple[bytes, SlotTable]] = []  # the last one first
        self._accounts: list[tuple[bytes, EnrolledAccount]] = []

    def table(self, document: Any) -> SlotTable:
        """A slot table from JSON.

        Raises:
            UnreadableRecord, KeyError, TypeError, ValueError: It is none.
        """
        return self._known(self._tables, document, lambda: SlotTable(SlotEntry.from_json(entry) for entry in document))

    def account(self, document: Any) -> EnrolledAccount:
        """What was stored beside the slots, from JSON.

        Raises:
            UnreadableRecord, KeyError, TypeError, ValueError: It is none.
        """
        return self._known(self._accounts, document, lambda: account_from_json(document))

    def _known(self, parts: list[tuple[bytes, Part]], document: object, read: Callable[[], Part]) -> Part:
        if not self._for_more:
            return read()
        written = canonical(document)
        for place, (known, part) in enumerate(parts):
            if known == written:
                parts.insert(0, parts.pop(place))
                return part
        part = read()
        parts[:] = [(written, part), *parts[: KNOWN - 1]]
        return part
