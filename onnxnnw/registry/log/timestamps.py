"""Timestamps of RFC 3161: that a checkpoint existed at a time, said by an authority and checked offline.

The token is over the SHA-256 of the signed checkpoint, byte for byte. Whoever trusts the authority's root certificate knows that
every entry of that checkpoint existed by then.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from onnxnnw.errors import CannotLook, MissingExtra, UnreadableData, UsageError

__all__ = ["Stamp", "check_stamp", "request_stamp"]

MAX_BYTES = 2**18
SECONDS = 30
"""An authority that takes longer does not answer."""


@dataclass(frozen=True)
class Stamp:
    """What an authority said.

    Attributes:
        token: Its answer, as it came.
        before: By this time, UTC, what was stamped existed; the authority's own accuracy is added.
        checked: Whether a root certificate was at hand to check it with; else only that it is about this checkpoint.
    """

    token: bytes
    before: datetime
    checked: bool

    @property
    def text(self) -> str:
        """The time as verdicts have it."""
        return self.before.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def request_stamp(note: bytes, url: str, roots: bytes | None = None) -> Stamp:
    """Ask an authority for a timestamp of a signed checkpoint; nothing but its hash leaves.

    Args:
        note: The checkpoint's bytes.
        url: Of the authority, http or https.
        roots: Certificates in PEM that its answer is checked with; without them its signature is not checked now.

    Raises:
        CannotLook: It cannot be reached, refuses, or answers something else.
        UsageError: Not an address of that kind.
    """
    client = _client()
    request = client.TimestampRequestBuilder().data(note).hash_algorithm(client.HashAlgorithm.SHA256).build()
    answer = _ask(url, request.as_bytes())
    response = _decoded(answer)
    if response.tst_info.nonce != request.nonce:
        raise CannotLook(f"{url}: answers another question than it was asked")
    return _stamp(answer, response, note, roots)


def _ask(url: str, question: bytes) -> bytes:
    import urllib.error
    import urllib.request

    if not url.startswith(("http://", "https://")):
        raise UsageError(f"a timestamp authority has an address of http or https, not {url[:80]!r}")

    class NoRedirects(urllib.request.HTTPRedirectHandler):
        """Only the address that the user gave is asked."""

        def redirect_request(self, *_: Any) -> None:
            return None

    request = urllib.request.Request(url, question, {"Content-Type": "application/timestamp-query"})
    try:
        with urllib.request.build_opener(NoRedirects).open(request, timeout=SECONDS) as response:
            answer: bytes = response.read(MAX_BYTES + 1)
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise CannotLook(f"{url}: gives no timestamp: {str(error)[:200]}") from None
    if len(answer) > MAX_BYTES:
        raise CannotLook(f"{url}: answers with more than {MAX_BYTES:,} bytes, which is no timestamp")
    return answer


def check_stamp(token: bytes, note: bytes, roots: bytes) -> Stamp:
    """Check, offline, that an authority whose root is trusted says that a checkpoint existed.

    Args:
        token: The authority's answer.
        note: The checkpoint's bytes.
        roots: Trusted root certificates in PEM.

    Raises:
        UnreadableData: It is no token, of another checkpoint, or not signed by an authority under these roots.
    """
    if len(token) > MAX_BYTES:
        raise UnreadableData(f"a timestamp has at most {MAX_BYTES:,} bytes, not {len(token):,}")
    return _stamp(token, _decoded(token), note, roots)


def _decoded(token: bytes) -> Any:
    client = _client()
    try:
        response = client.decode_timestamp_response(token)
        if client.PKIStatus(response.status) != client.PKIStatus.GRANTED:
            raise UnreadableData("the authority refused to give a timestamp")
        response.tst_info  # noqa: B018  is read lazily
    except ValueError as error:
        raise UnreadableData(f"no timestamp of RFC 3161: {str(error)[:200]}") from None
    return response


def _stamp(token: bytes, response: Any, note: bytes, roots: bytes | None) -> Stamp:
    import hashlib

    client = _client()
    if response.tst_info.message_imprint.message != hashlib.sha256(note).digest():
        raise UnreadableData("the timestamp is of another checkpoint")
    if roots is not None:
        _verify(response, note, _certificates(roots), client)
    accuracy = response.tst_info.accuracy
    slack = timedelta()
    if accuracy is not None:
        slack = timedelta(
            seconds=accuracy.seconds or 0, milliseconds=accuracy.millis or 0, microseconds=accuracy.micros or 0
        )
    return Stamp(token, response.tst_info.gen_time + slack, roots is not None)


def _verify(response: Any, note: bytes, roots: Sequence[Any], client: Any) -> None:
    builder = client.VerifierBuilder()
    for root in roots:
        builder = builder.add_root_certificate(root)
    try:
        builder.build().verify_message(response, note)
    except (client.VerificationError, ValueError) as error:
        raise UnreadableData(f"the timestamp is not by an authority under these roots: {str(error)[:200]}") from None


def _certificates(pem: bytes) -> list[Any]:
    from cryptography import x509

    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError:
        found = []
    if not found:
        raise UnreadableData("no certificates in PEM")
    return list(dict.fromkeys(found))


def _client() -> Any:
    try:
        import rfc3161_client
    except ImportError:
        raise MissingExtra("rfc3161-client", "registry") from None
    return rfc3161_client
