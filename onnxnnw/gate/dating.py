"""By when a record existed, for a policy that asks: timestamps that a registry keeps, and those beside proofs of a log."""

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from onnxnnw.errors import UnreadableData
from onnxnnw.files import read_regular
from onnxnnw.gate.places import expand
from onnxnnw.gate.policy import Dated
from onnxnnw.verification.verdict import Verdict
from onnxnnw.verification.visible import visible

if TYPE_CHECKING:
    from onnxnnw.registry.log.checkpoints import VerifierKey
    from onnxnnw.registry.log.timestamps import Stamp
    from onnxnnw.registry.store import Registry

__all__ = ["Dates"]

MAX_PROOFS = 1_000

_Found = tuple["Stamp", str]
"""A checked timestamp, and the name of the log that it is of."""


class Dates:
    """What the timestamps that an entry trusts say.

    Args:
        dated: What the entry asks.
        folder: What its paths are relative to.
        registry: The registry that is searched, whose log counts too.
    """

    def __init__(self, dated: Dated, folder: Path, registry: "Registry | None" = None) -> None:
        self.dated, self.folder, self.registry = dated, folder, registry
        self._known: dict[str, tuple[_Found | None, tuple[str, ...]]] = {}

    def told(self, verdict: Verdict) -> Verdict:
        """A verdict with the time by which its record existed, where it matches and a timestamp says so."""
        from onnxnnw.registry.log.evidence import dated

        if verdict.decision not in ("identical", "traced"):
            return verdict
        found, _ = self._of(verdict.evidence.commitment)
        return verdict if found is None else dated(verdict, *found)

    def reasons(self, commitment: str) -> tuple[str, ...]:
        """Why timestamps that are there do not count for a record."""
        return self._of(commitment)[1]

    def _of(self, commitment: str) -> tuple[_Found | None, tuple[str, ...]]:
        if commitment not in self._known:
            try:
                self._roots  # noqa: B018 - without them nothing counts
            except UnreadableData as error:
                return None, (visible(str(error)),)
            found, reasons = self._beside_proofs(commitment)
            if self.registry is not None:
                more, others = self._in_registry(self.registry, commitment)
                found, reasons = [*found, *more], [*reasons, *others]
            earliest = min(found, key=lambda one: one[0].before, default=None)
            self._known[commitment] = earliest, tuple(dict.fromkeys(visible(reason) for reason in reasons))
        return self._known[commitment]

    def _in_registry(self, registry: "Registry", commitment: str) -> tuple[list[_Found], list[str]]:
        from onnxnnw.registry.log.evidence import earliest
        from onnxnnw.registry.log.kept import KeptLog

        log = KeptLog(registry.database, registry.vault)
        stamp, reasons = earliest(log, commitment, self._roots)
        return [] if stamp is None else [(stamp, log.key().name)], [f"{registry.place}: {reason}" for reason in reasons]

    def _beside_proofs(self, commitment: str) -> tuple[list[_Found], list[str]]:
        from onnxnnw.registry.log.evidence import TOKEN_ENDING
        from onnxnnw.registry.log.proofs import check_inclusion
        from onnxnnw.registry.log.timestamps import MAX_BYTES, check_stamp

        found: list[_Found] = []
        reasons = list(self._proofs[1])
        for path, content in self._proofs[0]:
            wrong = ""
            for key in self._keys:
                try:
                    included = check_inclusion(content, commitment, key)
                except UnreadableData as error:
                    wrong = wrong or f"{path.name}: {error}"
                    continue
                wrong = ""
                if included is not None:  # else it is of another record
                    try:
                        token = read_regular(path.with_name(path.name + TOKEN_ENDING), UnreadableData, MAX_BYTES)
                        found.append((check_stamp(token, included.checkpoint.note, self._roots), key.name))
                    except UnreadableData as error:
                        wrong = f"{path.name}: {error}"
                break
            reasons += [wrong] if wrong else []
        return found, reasons

    @cached_property
    def _proofs(self) -> tuple[list[tuple[Path, bytes]], list[str]]:
        """Proofs with their content, and why others cannot be read."""
        from onnxnnw.registry.log.evidence import TOKEN_ENDING
        from onnxnnw.registry.log.proofs import MAX_BYTES

        read, reasons = [], []
        paths = [path for glob in self.dated.proofs for path in expand(self.folder, glob)]
        paths = [path for path in paths if not path.name.endswith(TOKEN_ENDING)]
        if len(paths) > MAX_PROOFS:
            reasons.append(f"{len(paths):,} proofs, of which the first {MAX_PROOFS:,} were read")
        for path in paths[:MAX_PROOFS]:
            try:
                read.append((path, read_regular(path, UnreadableData, MAX_BYTES)))
            except UnreadableData as error:
                reasons.append(str(error))
        if self.dated.proofs and not paths:
            reasons.append(f"{', '.join(self.dated.proofs)}: there is no proof")
        return read, reasons

    @cached_property
    def _keys(self) -> "list[VerifierKey]":
        from onnxnnw.registry.log.checkpoints import VerifierKey

        return [VerifierKey.from_text(key) for key in self.dated.keys]

    @cached_property
    def _roots(self) -> bytes:
        from onnxnnw.registry.log.evidence import read_roots

        paths = [path for glob in self.dated.roots for path in expand(self.folder, glob)]
        if not paths:
            raise UnreadableData(f"{', '.join(self.dated.roots)}: there is no certificate")
        return b"\n".join(read_roots(path) for path in paths)
