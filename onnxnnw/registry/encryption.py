"""Encryption at rest of what a registry keeps secret: AES-256-GCM, each stored piece bound to where it belongs.

Stored is ``1 | salt, 32 bytes | nonce, 12 bytes | ciphertext and tag``. Each piece is encrypted under a key of its own, HKDF-SHA256 of
the file's key with the random salt, so no nonce is used twice under one key, however many pieces and writers there are. Associated
data is the place: table and identity of the row. A piece that was moved to another row, or sealed by another key, does not open.
"""

import os
import re
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from onnxnnw.errors import MissingExtra, UnreadableRegistry, UsageError
from onnxnnw.files import read_regular

__all__ = ["KEY_VARIABLE", "EncryptedVault", "new_key_file", "read_key_file", "vault_of"]

KEY_VARIABLE = "ONNXNNW_KEY_FILE"
_KEY_BYTES, _SALT_BYTES, _NONCE_BYTES, _TAG_BYTES = 32, 32, 12, 16
_VERSION = b"\x01"
_PURPOSE = b"onnxnnw/registry/at-rest/1"


class EncryptedVault:
    """Seals bytes under a key that lies elsewhere.

    Args:
        key: 32 bytes.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != _KEY_BYTES:
            raise UsageError(f"a key for encryption at rest has {_KEY_BYTES} bytes, not {len(key)}")
        self._key = key

    def seal(self, content: bytes, place: str) -> bytes:
        """What is stored; ``place`` names what it belongs to."""
        salt, nonce = secrets.token_bytes(_SALT_BYTES), secrets.token_bytes(_NONCE_BYTES)
        return _VERSION + salt + nonce + self._cipher(salt).encrypt(nonce, content, place.encode())  # type: ignore[no-any-return]

    def open(self, stored: bytes, place: str) -> bytes:
        """What was sealed.

        Raises:
            UnreadableRegistry: It was changed, belongs somewhere else, or another key sealed it.
        """
        begin = 1 + _SALT_BYTES
        if stored[:1] != _VERSION or len(stored) < begin + _NONCE_BYTES + _TAG_BYTES:
            raise UnreadableRegistry(f"the bytes of {place[:80]} are not encrypted, or damaged")
        from cryptography.exceptions import InvalidTag

        salt, nonce = stored[1:begin], stored[begin : begin + _NONCE_BYTES]
        try:
            return self._cipher(salt).decrypt(nonce, stored[begin + _NONCE_BYTES :], place.encode())  # type: ignore[no-any-return]
        except InvalidTag:
            raise UnreadableRegistry(
                f"the bytes of {place[:80]} do not open: they were changed or moved, or this is not the key"
            ) from None

    def _cipher(self, salt: bytes) -> Any:
        aead, hkdf, hashes = _cryptography()
        key = hkdf.HKDF(hashes.SHA256(), _KEY_BYTES, salt, _PURPOSE).derive(self._key)
        return aead.AESGCM(key)


def vault_of(key_file: Path | str | None, environment: Mapping[str, str] = os.environ) -> EncryptedVault | None:
    """The vault of a key file, or of the one that ``ONNXNNW_KEY_FILE`` names; None where nobody names one.

    Raises:
        UnreadableRegistry: The file cannot be read, others can read it, or it holds no key.
    """
    path = key_file or environment.get(KEY_VARIABLE)
    return EncryptedVault(read_key_file(path)) if path else None


def read_key_file(path: Path | str) -> bytes:
    """The key of a file: 64 hexadecimal digits, readable by its owner alone.

    Raises:
        UnreadableRegistry: See ``vault_of``.
    """
    path = Path(path)
    content = read_regular(path, UnreadableRegistry, 1024)
    if os.name == "posix" and stat.S_IMODE(path.stat().st_mode) & 0o077:
        raise UnreadableRegistry(f"{path}: others can read this key; run: chmod 600 {path}")
    text = content.decode("ascii", "replace").strip()
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise UnreadableRegistry(f"{path}: is no key: 64 hexadecimal digits were wanted")
    return bytes.fromhex(text)


def new_key_file(path: Path | str) -> None:
    """Write a new key, mode 0600, on the disk when this returns; never over anything.

    Raises:
        UsageError: Something is there.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise UsageError(f"{path} exists; a key is never overwritten, for what it encrypted would be lost") from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_hex(_KEY_BYTES).encode() + b"\n")
        file.flush()
        os.fsync(descriptor)


def _cryptography() -> Any:
    try:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.ciphers import aead
        from cryptography.hazmat.primitives.kdf import hkdf
    except ImportError:
        raise MissingExtra("cryptography", "registry") from None
    return aead, hkdf, hashes
