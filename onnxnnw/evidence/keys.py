"""Keys of signers: ECDSA on P-256 and P-384, and Ed25519, as PEM files."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from onnxnnw.errors import MissingExtra, UnreadableData, UsageError
from onnxnnw.files import read_regular

__all__ = ["PASSWORD", "PublicKey", "Signer", "load_public_key", "load_signer"]

PASSWORD = "ONNXNNW_KEY_PASSWORD"
"""Environment variable with the password of a private key that has one."""

MAX_BYTES = 2**16
_CURVES = {"secp256r1": "SHA256", "secp384r1": "SHA384"}


@dataclass(frozen=True)
class PublicKey:
    """Who may have signed.

    Attributes:
        id: SHA-256 of the key as PEM, in hexadecimal, as model_signing hints at it.
        kind: ``ecdsa-p256``, ``ecdsa-p384`` or ``ed25519``.
        key: cryptography's own object.
    """

    id: str
    kind: str
    key: Any

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether the signature is this key's, of exactly this message."""
        from cryptography.exceptions import InvalidSignature

        try:
            if self.kind == "ed25519":
                self.key.verify(signature, message)
            else:
                self.key.verify(signature, message, _ecdsa(self.key.curve.name))
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True)
class Signer:
    """A private key; it is never shown."""

    public: PublicKey
    _key: Any

    def __repr__(self) -> str:
        return f"Signer({self.public.id})"

    def sign(self, message: bytes) -> bytes:
        """The signature; of ECDSA as DER."""
        if self.public.kind == "ed25519":
            signature: bytes = self._key.sign(message)
        else:
            signature = self._key.sign(message, _ecdsa(self._key.curve.name))
        return signature


def load_public_key(path: Path) -> PublicKey:
    """A public key from a PEM file.

    Raises:
        UnreadableData: It cannot be read, or is no such key.
        MissingExtra: cryptography is not installed.
    """
    serialization = _serialization()
    content = read_regular(path, UnreadableData, MAX_BYTES)
    try:
        return _public(serialization.load_pem_public_key(content), path)
    except ValueError:
        raise UnreadableData(f"{path}: is not a public key (PEM, SubjectPublicKeyInfo)") from None
    except Exception as error:  # cryptography names algorithms that it does not know by a class of its own
        raise UnreadableData(f"{path}: {type(error).__name__}: {error}") from None


def load_signer(path: Path) -> Signer:
    """A private key from a PEM file; its password, if it has one, comes from the environment.

    Raises:
        UnreadableData: It cannot be read, is no such key, or its password is missing or wrong.
        MissingExtra: cryptography is not installed.
    """
    serialization = _serialization()
    content = read_regular(path, UnreadableData, MAX_BYTES)
    password = os.environ.get(PASSWORD)
    try:
        try:
            key = serialization.load_pem_private_key(content, password.encode() if password else None)
        except TypeError as error:  # a password where none is needed, or none where one is
            if "not given" in str(error) or not password:
                raise UnreadableData(f"{path}: is encrypted; give its password in {PASSWORD}") from None
            key = serialization.load_pem_private_key(content, None)
    except ValueError:
        raise UnreadableData(f"{path}: is not a private key (PEM), or its password is another one") from None
    return Signer(_public(key.public_key(), path), key)


def _public(key: Any, path: Path) -> PublicKey:
    serialization = _serialization()
    curve = getattr(getattr(key, "curve", None), "name", "")
    name = type(key).__name__
    if curve in _CURVES:
        kind = {"secp256r1": "ecdsa-p256", "secp384r1": "ecdsa-p384"}[curve]
    elif "Ed25519" in name:
        kind = "ed25519"
    else:
        raise UsageError(f"{path}: keys are ECDSA on P-256 or P-384, or Ed25519; this is {curve or name.strip('_')}")
    pem: bytes = key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    return PublicKey(hashlib.sha256(pem).hexdigest(), kind, key)


def _ecdsa(curve: str) -> Any:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.ECDSA(getattr(hashes, _CURVES[curve])())


def _serialization() -> Any:
    try:
        from cryptography.hazmat.primitives import serialization
    except ImportError:
        raise MissingExtra("cryptography", "evidence") from None
    return serialization
