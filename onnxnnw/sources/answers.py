"""Validation of a server's answers before their bytes are used."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from onnxnnw.errors import FileChanged, UnreadableNetwork

__all__ = ["Pinned", "Refused", "checked", "first_answer", "refusal"]

_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})")
_VERSIONS = ("x-amz-version-id", "x-goog-generation")


class Refused(UnreadableNetwork):
    """The server does not hand the file out, or not in a way that can be relied on."""


@dataclass(frozen=True)
class Pinned:
    """Which version of a file is read: every answer must be of this one.

    Attributes:
        size: Bytes of the whole file.
        etag: The server's name of this version; empty where it gives none.
        modified: When it was changed, as the server says.
        version: The object store's own number of it; empty where there is none.
    """

    size: int
    etag: str
    modified: str
    version: str

    @property
    def condition(self) -> dict[str, str]:
        """What makes a server refuse to answer from another version."""
        if self.etag and not self.etag.startswith("W/"):
            return {"If-Match": self.etag}
        return {"If-Unmodified-Since": self.modified} if self.modified and not self.etag else {}


def first_answer(headers: Mapping[str, str], start: int, stop: int, shown: str) -> Pinned:
    """The version that is read from now on, from the first partial answer.

    Raises:
        Refused: The answer is no range, or does not say which version it is of.
    """
    first, last, size = _range(headers, shown)
    if first != start or last + 1 != min(stop, size):
        raise Refused(f"{shown}: the server answered with other bytes than those asked for; download the file")
    pinned = Pinned(size, headers.get("etag", ""), headers.get("last-modified", ""), _version(headers))
    if not (pinned.etag or pinned.modified or pinned.version):
        raise Refused(
            f"{shown}: the server names neither ETag nor Last-Modified, so that a change between two answers would go "
            "unseen; download the file"
        )
    return pinned


def checked(headers: Mapping[str, str], pinned: Pinned, start: int, stop: int, shown: str) -> None:
    """Make sure that a partial answer holds the bytes that were asked for, of the version that is pinned.

    Raises:
        FileChanged: It is of another version.
        Refused: It is of other bytes.
    """
    first, last, size = _range(headers, shown)
    changed = size != pinned.size or _version(headers) != pinned.version
    changed |= headers.get("etag", "") != pinned.etag
    changed |= not pinned.etag and headers.get("last-modified", "") != pinned.modified
    if changed:
        raise FileChanged(f"{shown}: the file changed while it was read")
    if (first, last + 1) != (start, stop):
        raise Refused(f"{shown}: the server answered with other bytes than those asked for; download the file")


def _range(headers: Mapping[str, str], shown: str) -> tuple[int, int, int]:
    """First and last byte of a partial answer, and the size of the whole file."""
    encoding = headers.get("content-encoding", "identity").strip().lower()
    if encoding not in ("identity", ""):
        raise Refused(f"{shown}: the server compresses its answers although it was asked not to; download the file")
    found = _CONTENT_RANGE.fullmatch(headers.get("content-range", "").strip())
    if found is None:
        raise Refused(
            f"{shown}: the server does not say which bytes it answered with (Content-Range); download the file"
        )
    first, last, size = map(int, found.groups())
    length = headers.get("content-length")
    if length is not None and length != str(last - first + 1):
        raise Refused(
            f"{shown}: the answer's Content-Length and Content-Range contradict each other; download the file"
        )
    return first, last, size


def _version(headers: Mapping[str, str]) -> str:
    return next((headers[name] for name in _VERSIONS if headers.get(name)), "")


def refusal(status: int, headers: Mapping[str, str], shown: str) -> UnreadableNetwork:
    """The error for an answer that is no partial content."""
    if status == 200:
        return Refused(f"{shown}: the server ignores Range and would send the whole file; download it first")
    if status in (412, 416):
        return FileChanged(f"{shown}: the file changed while it was read")
    if status in (404, 410):
        return Refused(f"{shown}: there is no such file on the server ({status})")
    region = headers.get("x-amz-bucket-region", "")
    if region.replace("-", "").isalnum() and status in (301, 307, 400):
        return Refused(f"{shown}: the bucket lies in another region; set AWS_REGION={region[:40]}")
    if status in (401, 403):
        return Refused(
            f"{shown}: the server does not allow it ({status}): credentials are missing or wrong, or the address has expired"
        )
    return Refused(f"{shown}: the server answered with status {status}, not with a part of the file")
