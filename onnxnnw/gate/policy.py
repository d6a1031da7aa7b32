"""A policy: which networks must be what, as frozen data."""

import datetime
from dataclasses import dataclass
from pathlib import Path

from onnxnnw.gate.requirements import AnyRecord, Findings, NoneOf, NotExpired

__all__ = ["MODES", "Bundle", "Chained", "Dated", "Member", "Policy", "PolicyEntry"]

MODES = ("off", "warn", "enforce")
"""Not looked at, shown only, or shutting the gate."""


@dataclass(frozen=True)
class Chained:
    """Attestations that may lead from a file to a record that is not at hand.

    Attributes:
        statements: Globs of files with statements.
        keys: Public keys; only what one of them signed counts.
        roots: Commitments of the records at which a chain may end.
    """

    statements: tuple[str, ...]
    keys: tuple[str, ...]
    roots: tuple[str, ...]


@dataclass(frozen=True)
class Dated:
    """By when the record that matches must have existed, and who may say so.

    Attributes:
        before: The moment; None where any timestamp will do.
        roots: Certificates (PEM) of authorities whose timestamps count.
        proofs: Globs of proofs that commitments are in a log, each with its timestamp beside it.
        keys: Public keys of these logs, NAME+KEYID+BASE64.
    """

    before: datetime.datetime | None
    roots: tuple[str, ...]
    proofs: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class PolicyEntry:
    """What one network, or several of a kind, must be.

    Attributes:
        name: What the entry is called.
        files: Globs of the files that it speaks of.
        addresses: Files behind servers that it speaks of, and repositories of the hub.
        records: Records, folders of records, or globs of them.
        commitments: SHA-256 that the records must have; empty where any record that stands there counts.
        require: What is asked of the verdicts.
        findings: What is asked of one attested verdict, where a chain is followed.
        asked: The same in words.
        full: Whether the canonical digest is compared.
        mode: Of the entry.
        expires: Its own end.
        chained: Attestations that may stand for records.
        signed_by: Public keys, one of which must have signed the file.
        parent: The network that the matching record must have been made of.
        parent_signed_by: Public keys, one of which must have signed that.
        reference: The owner's own copy of the recorded network, in whose order of channels files are read too.
        registry: A registry that is searched besides ``records``: a file, or ``postgresql://…``.
        dated: By when the record must have existed; None where nobody asks.
    """

    name: str
    files: tuple[str, ...]
    addresses: tuple[str, ...]
    records: tuple[str, ...]
    commitments: tuple[str, ...]
    require: AnyRecord | NoneOf
    findings: Findings
    asked: str
    full: bool
    mode: str
    expires: NotExpired
    chained: Chained | None = None
    signed_by: tuple[str, ...] = ()
    parent: str = ""
    parent_signed_by: tuple[str, ...] = ()
    reference: str = ""
    registry: str = ""
    dated: Dated | None = None


@dataclass(frozen=True)
class Member:
    """A file of a bundle: one of a network's entry, or one of a digest.

    Attributes:
        path: From the policy's folder on, or an address.
        network: Name of the entry that says what it must be; empty where a digest does.
        sha256: Its digest; empty where an entry says what it must be.
    """

    path: str
    network: str = ""
    sha256: str = ""

    @property
    def address(self) -> bool:
        """Whether it lies behind a server."""
        return "://" in self.path


@dataclass(frozen=True)
class Bundle:
    """Several files that are released together: one unit, one answer."""

    name: str
    members: tuple[Member, ...]
    mode: str
    expires: NotExpired


@dataclass(frozen=True)
class Policy:
    """A policy file.

    Attributes:
        path: The file; everything in it is relative to its folder.
        sha256: Of its bytes.
        mode: Of all entries that say nothing else.
        until: When it ends.
        rate: The false-positive rate of each decision.
        others: ``refuse`` or ``ignore`` networks that no entry names.
    """

    path: Path
    sha256: str
    mode: str
    until: datetime.datetime | None
    rate: float
    others: str
    networks: tuple[PolicyEntry, ...]
    bundles: tuple[Bundle, ...]

    @property
    def folder(self) -> Path:
        """Where its paths begin."""
        return self.path.parent

    @property
    def expires(self) -> NotExpired:
        """Its end as a requirement."""
        return NotExpired(self.until)

    def entry(self, name: str) -> PolicyEntry:
        """An entry by its name, of which there is exactly one."""
        return next(entry for entry in self.networks if entry.name == name)
