"""DSSE: a payload with signatures over its type and its bytes.

What is signed is PAE = "DSSEv1" SP len(type) SP type SP len(payload) SP payload, lengths in bytes, as ASCII decimals.
Source: secure-systems-lab DSSE 1.0.2.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from onnxnnw.errors import UnreadableData
from onnxnnw.evidence.keys import PublicKey, Signer

__all__ = ["IN_TOTO", "MAX_BYTES", "Envelope", "pae", "parse_json"]

IN_TOTO = "application/vnd.in-toto+json"
MAX_BYTES = 2**26
MAX_SIGNATURES = 64


@dataclass(frozen=True)
class Envelope:
    """A payload and who signed it.

    Attributes:
        payload_type: What the payload is.
        payload: Its bytes.
        signatures: Key id and signature; empty for a statement that nobody signed.
    """

    payload_type: str
    payload: bytes
    signatures: tuple[tuple[str, bytes], ...] = ()

    def signed(self, signer: Signer) -> "Envelope":
        """The same with one signature more."""
        signature = signer.sign(pae(self.payload_type, self.payload))
        return Envelope(self.payload_type, self.payload, (*self.signatures, (signer.public.id, signature)))

    def signer(self, keys: Sequence[PublicKey]) -> PublicKey | None:
        """The first of some keys that signed it; key ids are hints that nobody has to believe."""
        message = pae(self.payload_type, self.payload)
        return next((key for key in keys if any(key.verifies(s, message) for _, s in self.signatures)), None)

    def to_json(self) -> dict[str, Any]:
        """As it stands in a file."""
        signatures = [{"keyid": key, "sig": base64.b64encode(sig).decode()} for key, sig in self.signatures]
        payload = base64.b64encode(self.payload).decode()
        return {"payload": payload, "payloadType": self.payload_type, "signatures": signatures}

    @classmethod
    def from_json(cls, document: Any) -> "Envelope":
        """From what stands in a file.

        Raises:
            UnreadableData: It is no envelope.
        """
        try:
            given = document["signatures"]
            if not isinstance(given, list) or len(given) > MAX_SIGNATURES:
                raise UnreadableData(f"a list of at most {MAX_SIGNATURES} signatures was wanted")
            signatures = tuple((str(one.get("keyid") or ""), _bytes(one["sig"])) for one in given)
            kind = document["payloadType"]
            if not isinstance(kind, str):
                raise UnreadableData("the payload's type is no text")
            return cls(kind, _bytes(document["payload"]), signatures)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise UnreadableData(f"not a DSSE envelope: {type(error).__name__}: {str(error)[:80]}") from None


def pae(payload_type: str, payload: bytes) -> bytes:
    """What is signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def parse_json(content: bytes | str) -> Any:
    """JSON without repeated keys, whatever stands in it.

    Raises:
        UnreadableData: It is none.
    """
    try:
        return json.loads(content, object_pairs_hook=_without_repeats)
    except UnreadableData:
        raise
    except (ValueError, RecursionError) as error:
        raise UnreadableData(f"not JSON: {type(error).__name__}: {str(error)[:80]}") from None


def _without_repeats(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise UnreadableData("a key is given twice, and readers would disagree")
    return out


def _bytes(text: Any) -> bytes:
    """base64, with the usual or the URL-safe letters, as DSSE asks."""
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (AttributeError, binascii.Error):
        raise UnreadableData("something else where base64 belongs") from None
