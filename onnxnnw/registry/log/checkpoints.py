"""Checkpoints: a log's size and head at one moment, as a signed note that anybody can check [C2SP tlog-checkpoint, signed-note].

Keys are Ed25519. A verifier key is one line of text, ``NAME+KEYID+BASE64``, to be published where others find it.
"""

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import Any

from onnxnnw.errors import MissingExtra, UnreadableData, UsageError
from onnxnnw.registry.log.merkle import HASH_BYTES

__all__ = ["Checkpoint", "SigningKey", "VerifierKey", "base64_of", "parse_checkpoint"]

MAX_BYTES = 2**16
MAX_SIGNATURES = 100
_ED25519 = b"\x01"
_NAME = re.compile(r"[^\s+\x00-\x1f\x7f]{1,200}")
_SIGNATURE = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/=]+)")


@dataclass(frozen=True)
class Checkpoint:
    """The head of a log.

    Attributes:
        origin: Name of the log.
        size: Number of entries.
        root: Head of the tree, 32 bytes.
        note: The signed note as it was read or written; empty where it is not signed yet.
    """

    origin: str
    size: int
    root: bytes
    note: bytes = b""

    @property
    def text(self) -> str:
        """What is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"


@dataclass(frozen=True)
class VerifierKey:
    """The public half of a log's key.

    Attributes:
        name: Of the log.
        public: 32 bytes.
    """

    name: str
    public: bytes

    @property
    def key_id(self) -> bytes:
        """4 bytes that say which key a signature is of."""
        return hashlib.sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{base64.b64encode(_ED25519 + self.public).decode()}"

    @classmethod
    def from_text(cls, text: str) -> "VerifierKey":
        """A key from its line of text.

        Raises:
            UsageError: It is none, or its parts contradict each other.
        """
        name, _, rest = text.strip().partition("+")
        key_id, _, packed = rest.partition("+")
        try:
            content = base64.b64decode(packed, validate=True)
        except (binascii.Error, ValueError):
            content = b""
        if not _NAME.fullmatch(name) or content[:1] != _ED25519 or len(content) != 33:
            raise UsageError("a log's key is NAME+KEYID+BASE64 of an Ed25519 key, as `registry log key` prints it")
        key = cls(name, content[1:])
        if key.key_id.hex() != key_id:
            raise UsageError(f"the log's key of {name} is damaged: its ID would be {key.key_id.hex()}")
        return key

    def verifies(self, text: bytes, signature: bytes) -> bool:
        """Whether a signature of a text is by this key."""
        from cryptography.exceptions import InvalidSignature

        try:
            _ed25519().Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class SigningKey:
    """A log's key.

    Attributes:
        name: Of the log: its origin.
        seed: 32 bytes, secret.

    Raises:
        UsageError: The name has blanks or a plus sign.
    """

    name: str
    seed: bytes

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError(f"a log's name has 1 to 200 characters without blanks and +, not {self.name[:80]!r}")

    @classmethod
    def generate(cls, name: str) -> "SigningKey":
        """A new key from the operating system's generator."""
        import secrets

        return cls(name, secrets.token_bytes(32))

    @property
    def verifier(self) -> VerifierKey:
        """The public half."""
        private = _ed25519().Ed25519PrivateKey.from_private_bytes(self.seed)
        return VerifierKey(self.name, private.public_key().public_bytes_raw())

    def sign(self, size: int, root: bytes) -> Checkpoint:
        """The signed checkpoint of a tree."""
        bare = Checkpoint(self.name, size, root)
        signature = _ed25519().Ed25519PrivateKey.from_private_bytes(self.seed).sign(bare.text.encode())
        packed = base64.b64encode(self.verifier.key_id + signature).decode()
        return Checkpoint(self.name, size, root, f"{bare.text}\n— {self.name} {packed}\n".encode())


def parse_checkpoint(note: bytes, key: VerifierKey) -> Checkpoint:
    """A checkpoint whose signature by the log's key was verified; signatures of others are passed over, as the format wants.

    Raises:
        UnreadableData: It is no checkpoint, one of another log, or its signature is not by this key.
    """
    if len(note) > MAX_BYTES:
        raise UnreadableData(f"a checkpoint has at most {MAX_BYTES:,} bytes, not {len(note):,}")
    try:
        whole = note.decode()
    except UnicodeDecodeError:
        raise UnreadableData("no checkpoint: not UTF-8") from None
    body, separator, signed = whole.rpartition("\n\n")
    lines = f"{body}\n".split("\n")[:-1]
    if not separator or not signed.endswith("\n") or len(lines) < 3 or re.search(r"[\x00-\x09\x0b-\x1f]", whole):
        raise UnreadableData("no checkpoint: three lines of text, an empty one, and signatures were wanted")
    origin, size, root = lines[0], lines[1], base64_of(lines[2])
    if not re.fullmatch(r"0|[1-9][0-9]{0,18}", size) or not origin or root is None or len(root) != HASH_BYTES:
        raise UnreadableData("no checkpoint: a name, a size and a head of 32 bytes in base64 were wanted")
    if origin != key.name:
        raise UnreadableData(f"a checkpoint of the log {origin[:80]!r}, not of {key.name[:80]!r}")
    signatures = signed.split("\n")[:-1]
    found = [match for line in signatures if (match := _SIGNATURE.fullmatch(line))]
    if len(found) != len(signatures) or not 1 <= len(found) <= MAX_SIGNATURES:
        raise UnreadableData("no checkpoint: a line is no signature")
    for match in found:
        packed = base64_of(match[2])
        ours = packed is not None and match[1] == key.name and packed[:4] == key.key_id and len(packed) == 68
        if packed is not None and ours and key.verifies(f"{body}\n".encode(), packed[4:]):
            return Checkpoint(origin, int(size), root, note)
    raise UnreadableData(f"the checkpoint of {origin[:80]!r} is not signed by the key {key.key_id.hex()}")


def base64_of(text: str) -> bytes | None:
    """Bytes from standard base64, written the one way there is; None where it is something else."""
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return content if base64.b64encode(content).decode() == text else None


def _ed25519() -> Any:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError:
        raise MissingExtra("cryptography", "registry") from None
    return ed25519
