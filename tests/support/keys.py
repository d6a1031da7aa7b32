"""Keys to sign with, made on the spot."""

from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

KINDS = ("p256", "p384", "ed25519")


@dataclass(frozen=True)
class KeyPair:
    """Two PEM files."""

    private: Path
    public: Path


def key_pair(folder: Path, kind: str = "p256", name: str = "", password: bytes | None = None) -> KeyPair:
    """A new pair in a folder."""
    makers = {
        "p256": lambda: ec.generate_private_key(ec.SECP256R1()),
        "p384": lambda: ec.generate_private_key(ec.SECP384R1()),
        "ed25519": ed25519.Ed25519PrivateKey.generate,
    }
    key = makers[kind]()
    pair = KeyPair(folder / f"{name or kind}.pem", folder / f"{name or kind}.pub")
    how = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    pair.private.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, how))
    public = key.public_key()
    pair.public.write_bytes(
        public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return pair
