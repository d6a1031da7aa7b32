"""Statements from others: read, and checked against keys and files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxnnw.errors import UnreadableData
from onnxnnw.evidence.envelope import IN_TOTO, MAX_BYTES, Envelope, parse_json
from onnxnnw.evidence.keys import PublicKey, load_public_key
from onnxnnw.evidence.oms import is_bundle, read_bundle
from onnxnnw.evidence.statements import STATEMENT, SVR, TEST_RESULT, VERDICT
from onnxnnw.evidence.subject import FileDigest, digest_of
from onnxnnw.files import read_regular
from onnxnnw.verification.visible import visible

__all__ = ["Attested", "Check", "check_file", "check_statement", "read_statements"]

MAX_STATEMENTS = 10_000


@dataclass(frozen=True)
class Attested:
    """A statement, and the envelope that it came in.

    Attributes:
        envelope: None where the statement stands in the file as it is, without any.
        subjects: SHA-256 -> name.
        kind: Type of its predicate.
        predicate: What it says.
    """

    envelope: Envelope | None
    subjects: Mapping[str, str]
    kind: str
    predicate: Mapping[str, Any]

    def signer(self, keys: Sequence[PublicKey]) -> PublicKey | None:
        """Which of some keys signed it."""
        return self.envelope.signer(keys) if self.envelope is not None else None

    @property
    def says(self) -> str:
        """What it says in short."""
        if self.kind == SVR:
            properties = self.predicate.get("properties")
            return ", ".join(visible(str(one)) for one in properties) if isinstance(properties, list) else "nothing"
        if self.kind == TEST_RESULT:
            return visible(str(self.predicate.get("result")))
        if self.kind == VERDICT:
            return f"answer {visible(str(self.predicate.get('answer')))}"
        return f"a predicate of the type {visible(self.kind)}"

    @property
    def positive(self) -> bool:
        """Whether it says that its subject passed; False for unknown predicates."""
        if self.kind == SVR:
            properties = self.predicate.get("properties")
            return isinstance(properties, list) and any(str(one).startswith("NNW_") for one in properties)
        if self.kind == TEST_RESULT:
            return self.predicate.get("result") == "PASSED"
        return self.kind == VERDICT and self.predicate.get("answer") == "yes"


@dataclass(frozen=True)
class Check:
    """The result of checking one statement.

    Attributes:
        said: What it says in short.
        subjects: What it says it of.
        problem: Why it is not to be believed, or says no; empty where all is well.
    """

    said: str
    subjects: tuple[str, ...]
    problem: str


def check_statement(found: Attested, keys: Sequence[PublicKey], files: Sequence[FileDigest]) -> Check:
    """Check a statement: signed by one of the keys, about all of the files, and positive."""
    subjects = tuple(visible(name) for name in found.subjects.values())
    others = [file.name for file in files if file.sha256 not in found.subjects]
    problem = ""
    if found.envelope is None or not found.envelope.signatures:
        problem = "is not signed"
    elif found.signer(keys) is None:
        problem = "is signed by none of the keys that were given, or was changed"
    elif others:
        problem = f"is not about {', '.join(others)}"
    elif not found.positive:
        problem = f"says {found.says}"
    return Check(found.says, subjects, problem)


def check_file(place: Path, files: Sequence[Path], keys: Sequence[Path]) -> list[Check]:
    """Hold all statements of a file, or the one of a bundle of model_signing, against keys and files.

    Raises:
        CannotLook: The statements, a file or a key cannot be read.
    """
    known = [load_public_key(key) for key in keys]
    content = read_regular(place, UnreadableData, MAX_BYTES)
    if content.lstrip().startswith(b"{") and is_bundle(_first(content)):
        bundle = read_bundle(place)
        problem = bundle.problem([digest_of(file) for file in files], known) if files else bundle.unsigned(known)
        return [Check(f"signed as {bundle.root[:16]}…", tuple(visible(name) for name in bundle.resources), problem)]
    digests = [digest_of(file) for file in files]
    found = read_statements(place)
    about = [one for one in found if not digests or any(file.sha256 in one.subjects for file in digests)]
    if not about:
        names = ", ".join(file.name for file in digests)
        return [Check("nothing", (), f"none of {len(found)} statements is about {names}")]
    return [check_statement(statement, known, digests) for statement in about]


def _first(content: bytes) -> Any:
    try:
        return parse_json(content)
    except UnreadableData:  # more than one document
        return None


def read_statements(path: Path) -> list[Attested]:
    """The statements of a file: envelopes or bare statements, one a line, or a single one over several lines.

    Raises:
        UnreadableData: One of them is none.
    """
    content = read_regular(path, UnreadableData, MAX_BYTES)
    try:
        lines = [line for line in content.decode("utf-8").split("\n") if line.strip()]
    except UnicodeDecodeError:
        raise UnreadableData(f"{path}: is no text") from None
    if len(lines) > MAX_STATEMENTS and lines[0].strip() != "{":
        raise UnreadableData(f"{path}: has more than {MAX_STATEMENTS:,} lines")
    try:
        documents = [parse_json(content)] if lines and lines[0].strip() == "{" else [parse_json(line) for line in lines]
        if not documents:
            raise UnreadableData("is empty")
        return [_attested(document) for document in documents]
    except UnreadableData as error:
        raise UnreadableData(f"{path}: {error}") from None


def _attested(document: Any) -> Attested:
    if not isinstance(document, dict):
        raise UnreadableData("an envelope or a statement was wanted")
    envelope = None
    if "payload" in document:
        envelope = Envelope.from_json(document)
        if envelope.payload_type != IN_TOTO:
            raise UnreadableData(f"a payload of the type {visible(envelope.payload_type)!r}, not {IN_TOTO!r}")
        document = parse_json(envelope.payload)
    if not isinstance(document, dict) or document.get("_type") != STATEMENT:
        raise UnreadableData("is not an in-toto statement, version 1")
    kind, predicate, subject = (document.get(name) for name in ("predicateType", "predicate", "subject"))
    if not isinstance(kind, str) or not isinstance(predicate, dict) or not isinstance(subject, list) or not subject:
        raise UnreadableData("a statement has a subject, a predicateType and a predicate")
    subjects = {}
    for one in subject:
        digest = one.get("digest") if isinstance(one, dict) else None
        if not isinstance(digest, dict) or not all(isinstance(value, str) for value in digest.values()):
            raise UnreadableData("a subject without digest")
        if "sha256" in digest:
            subjects[digest["sha256"].lower()] = str(one.get("name") or "")
    return Attested(envelope, subjects, kind, predicate)
