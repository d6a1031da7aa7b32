"""A registry as an entry of a policy names it: searched by its scan, or each record for itself where none of them may match."""

from pathlib import Path
from typing import TYPE_CHECKING

from onnxnnw.errors import UnreadableRecord, UnreadableRegistry
from onnxnnw.records.record import Record
from onnxnnw.records.shared_parts import SharedParts
from onnxnnw.verification.named_records import NamedRecord
from onnxnnw.verification.verdict import SearchResult
from onnxnnw.verification.visible import visible

if TYPE_CHECKING:
    from onnxnnw.registry.entry import RegistryEntry

__all__ = ["MOST", "RegistryRecords"]

MOST = 10_000
"""Records that are each examined, where none may match."""


class RegistryRecords:
    """A registry that is open while files are checked.

    Args:
        place: A file, or ``postgresql://…``.
        folder: What a file's place is relative to.

    Raises:
        UnreadableRegistry: It cannot be opened.
        MissingExtra: What databases need is not installed.
    """

    def __init__(self, place: str, folder: Path) -> None:
        from onnxnnw.registry.encryption import vault_of
        from onnxnnw.registry.store import Registry

        self.registry: Registry = Registry(place if "://" in place else folder / place, vault=vault_of(None))
        self._records: tuple[list[NamedRecord], list[str]] | None = None
        self.digests: dict[str, str] = {}

    def close(self) -> None:
        """Nothing will be asked any more."""
        self.registry.close()

    def __len__(self) -> int:
        return len(self.registry)

    @property
    def revoked(self) -> dict[str, str]:
        """Commitments of records that hold no longer -> when and why, as it is now."""
        from onnxnnw.registry.entry import Filters

        return {one.commitment: _why(one) for one in self.registry.entries(Filters(revoked=True))}

    def search(self, candidate: Path | str, rate: float, full: bool, others: int) -> SearchResult:
        """The records that come nearest to a candidate.

        Args:
            others: Records elsewhere that are tried for the same answer.

        Raises:
            CannotLook: The candidate or the registry cannot be examined.
        """
        from onnxnnw.registry.search import search_registry

        found = search_registry(candidate, self.registry, rate, full, others=others).search
        for verdict in found.verdicts:
            if verdict.decision in ("identical", "traced"):
                self._remember(verdict.evidence.commitment)
        return found

    def all_records(self) -> tuple[list[NamedRecord], list[str]]:
        """Every record, revoked ones too, and why others cannot be read.

        Raises:
            UnreadableRegistry: There are more than can be examined one by one, or none.
        """
        if self._records is None:
            if not 0 < len(self) <= MOST:
                what = "holds no records yet" if not len(self) else f"holds {len(self):,} records"
                raise UnreadableRegistry(
                    f"{self.registry.place}: {what}; none-of examines each of them, up to {MOST:,}: name those that are meant"
                )
            named, unreadable, shared = [], [], SharedParts()
            for entry in self.registry.entries():
                try:
                    record = Record.from_bytes(self.registry.content(entry.commitment), shared)
                except UnreadableRecord as error:
                    unreadable.append(visible(f"{entry.commitment[:16]}: {error}"))
                    continue
                name = f"{entry.network} {entry.commitment[:16]}".strip()
                named.append(NamedRecord(record, name, entry.commitment))
                self.digests[entry.commitment] = record.derived.get("digest", "")
            self._records = named, unreadable
        return self._records

    def _remember(self, commitment: str) -> None:
        if commitment not in self.digests:
            self.digests[commitment] = self.registry.record(commitment).derived.get("digest", "")


def _why(entry: "RegistryEntry") -> str:
    return visible(f"at {entry.revoked_at}: {entry.reason}")
