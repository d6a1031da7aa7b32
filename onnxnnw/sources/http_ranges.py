"""Range requests for one file over HTTP: pooled connections, checked answers, bounded retries.

Each range is a request of its own, 32 at a time: servers answer several ranges in one request in ways that cannot be relied on.
"""

import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urljoin, urlsplit, urlunsplit

from onnxnnw.errors import FileChanged
from onnxnnw.sources.addresses import Address
from onnxnnw.sources.answers import Pinned, Refused, checked, first_answer, refusal
from onnxnnw.sources.connections import Broken, Connections, body_of, kind_of, whole_of
from onnxnnw.sources.limits import Budget

if TYPE_CHECKING:
    import urllib3

__all__ = ["FIRST", "HttpRanges", "ask_headers", "ask_json"]

Answer = TypeVar("Answer")

FIRST = 2**16
"""Bytes that the first request asks for: it brings the size, the version and the head at once."""

_PIECE = 2**20
_TRIES, _REDIRECTS = 5, 5
_LONGEST_PAUSE, _PATIENCE_S = 8.0, 20.0
_TIRED = frozenset((403, 408, 425, 429, 500, 502, 503, 504))
_MOVED = frozenset((301, 302, 303, 307, 308))


class HttpRanges:
    """A remote file that is read by range; see ``protocol.RandomAccess``.

    Attributes:
        size: Bytes of the file.
        identity: What tells this version of it from others.
    """

    is_remote = True

    def __init__(self, address: Address, budget: Budget, connections: Connections | None = None) -> None:
        """Ask for the beginning of a file.

        Args:
            address: Where it is.
            budget: What may be read.
            connections: Those of a file beside it; new ones by default.

        Raises:
            Refused: The server does not hand out ranges of it.
            MissingExtra: ``urllib3`` is not installed.
        """
        self.address, self.budget = address, budget
        self.connections = connections or Connections()
        self._place = address.url
        self._hub: dict[str, str] = {}
        self._pinned: Pinned | None = None
        try:
            self.head = self._get(0, FIRST)
        except BaseException:
            if connections is None:
                self.connections.close()
            raise
        self.size = self._version.size
        linked = self._hub.get("x-linked-size", "")
        if linked and linked != str(self.size):
            raise FileChanged(f"{address}: the hub announces {linked[:20]} bytes, and the store has {self.size:,}")

    @property
    def identity(self) -> tuple[object, ...]:
        """Address, size, version."""
        pinned = self._version
        return self.address.url, pinned.size, pinned.etag, pinned.modified, pinned.version

    @property
    def _version(self) -> Pinned:
        """What is pinned, once the first answer came."""
        assert self._pinned is not None
        return self._pinned

    def read_many(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Many ranges of the file, asked for at the same time; long ones in pieces.

        Raises:
            FileChanged: The file is no longer the one that was opened.
            Refused: The server gives up, or cannot be relied on.
            CannotLook: More would be read than is allowed.
        """
        pieces = [
            (number, at, min(at + _PIECE, stop))
            for number, (start, stop) in enumerate(ranges)
            for at in range(start, stop, _PIECE)
        ]
        found = self.connections.run(self._get, [(at, stop) for _, at, stop in pieces])
        out: list[list[bytes]] = [[] for _ in ranges]
        for (number, _, _), content in zip(pieces, found, strict=True):
            out[number].append(content)
        return [each[0] if len(each) == 1 else b"".join(each) for each in out]

    def unchanged(self) -> bool:
        """Yes: each answer was of the version that was opened, or reading failed."""
        return True

    def close(self) -> None:
        """End all connections."""
        self.connections.close()

    def _get(self, start: int, stop: int) -> bytes:
        """One range, as often as it takes."""
        problem, pause = "", 0.0
        for attempt in range(_TRIES):
            if attempt and self.connections.over.wait(pause):
                break
            asked = stop - start
            self.budget.ask(asked)
            received, pause = 0, min(0.25 * 4**attempt, _LONGEST_PAUSE) * (0.5 + random.random())
            try:
                response = self._answer(start, stop)
                headers = {name.lower(): value for name, value in response.headers.items()}
                if response.status == 206:
                    if self._pinned is None:
                        self._pinned = first_answer(headers, start, stop, str(self.address))
                        stop = min(stop, self._pinned.size)
                    else:
                        checked(headers, self._pinned, start, stop, str(self.address))
                    content = body_of(response, stop - start)
                    received = len(content)
                    return content
                response.close()
                if self._pinned is None and response.status == 416 and _is_empty(headers):
                    self._pinned = Pinned(0, headers.get("etag", ""), headers.get("last-modified", ""), "")
                    return b""
                problem = str(refusal(response.status, headers, str(self.address)))
                if response.status in (400, 401, 403) and self._place != self.address.url:
                    self._place = self.address.url  # what was signed has expired: ask for a new signature
                elif response.status not in _TIRED or (response.status == 403 and attempt >= 2):
                    raise refusal(response.status, headers, str(self.address))
                pause = max(pause, _asked_to_wait(headers))
            except (Broken, OSError) as error:
                problem = f"{self.address}: the connection failed: {kind_of(error)}"
            finally:
                self.budget.settle(asked, received)
        raise Refused(problem or f"{self.address}: the reading was ended")

    def _answer(self, start: int, stop: int) -> "urllib3.BaseHTTPResponse":
        """The answer to a request for a range, after redirects; its body is not read yet."""
        url = self._place
        headers = {"Range": f"bytes={start}-{stop - 1}", "Accept-Encoding": "identity"}
        if self._pinned is not None:
            headers |= self._pinned.condition
        for _ in range(_REDIRECTS + 1):
            response = self.connections.get(url, headers | self.address.headers(url))
            target = response.headers.get("location")
            if response.status not in _MOVED or not target:
                if response.status == 206:
                    self._place = url
                return response
            self._from_hub(response.headers)
            response.close()
            url = _redirected(url, target, str(self.address))
        raise Refused(f"{self.address}: the server redirects more than {_REDIRECTS} times")

    def _from_hub(self, headers: Mapping[str, str]) -> None:
        """What a hub says of a file before it sends its reader to the store: commit, content, size; none of it may change."""
        for name in ("x-repo-commit", "x-linked-etag", "x-linked-size"):
            value = headers.get(name, "")
            if value and self._hub.setdefault(name, value) != value:
                raise FileChanged(f"{self.address}: the file changed while it was read")


def ask_json(address: Address, budget: Budget) -> bytes:
    """A small document of a server, whole: what an interface of a hub answers with.

    Raises:
        Refused: There is none, or it is too large.
    """

    def taken(response: "urllib3.BaseHTTPResponse") -> bytes | None:
        if response.status != 200:
            return None
        content = whole_of(response)
        budget.settle(0, len(content))
        return content

    return _asked(address, budget, {"Accept-Encoding": "identity"}, taken)


def ask_headers(address: Address, budget: Budget) -> dict[str, str]:
    """What a hub says of a file before any of it is read, names in lower case: commit, content, size.

    Raises:
        Refused: It says nothing.
    """

    def taken(response: "urllib3.BaseHTTPResponse") -> dict[str, str] | None:
        if response.status not in _MOVED and response.status not in (200, 206):
            return None
        response.close()
        return {name.lower(): value for name, value in response.headers.items()}

    found: dict[str, str] = {}
    url = address.url
    for _ in range(_REDIRECTS):
        said = _asked(replace(address, url=url), budget, {"Range": "bytes=0-0", "Accept-Encoding": "identity"}, taken)
        found = said | found  # what the hub said first counts
        target = said.get("location", "")
        if not target or urlsplit(target).netloc or found.get("x-linked-etag"):
            break
        url = _redirected(url, target, str(address))  # within the hub, as where a repository was renamed
    return found


def _asked(
    address: Address,
    budget: Budget,
    headers: dict[str, str],
    taken: "Callable[[urllib3.BaseHTTPResponse], Answer | None]",
) -> "Answer":
    """What is taken from an answer, which is asked for as often as it takes; no redirect is followed."""
    connections, problem = Connections(1), ""
    try:
        for attempt in range(_TRIES):
            time.sleep(0.5 * attempt)
            budget.ask(0)
            try:
                response = connections.get(address.url, headers | address.headers(address.url))
                answer = taken(response)
                if answer is not None:
                    return answer
                response.close()
                problem = f"{address}: the server answered with status {response.status}"
                if response.status not in _TIRED:
                    break
            except (Broken, OSError) as error:
                problem = f"{address}: the connection failed: {kind_of(error)}"
    finally:
        connections.close()
    raise Refused(problem)


def _redirected(url: str, target: str, shown: str) -> str:
    """Where a redirect leads, without credentials in it."""
    try:
        parts = urlsplit(urljoin(url, target))
        host = parts.netloc.rpartition("@")[2]
        if not parts.hostname or parts.scheme not in ("http", "https"):
            raise ValueError
    except ValueError:
        raise Refused(f"{shown}: the server redirects to no web address") from None
    if parts.scheme == "http" and urlsplit(url).scheme == "https":
        raise Refused(f"{shown}: the server redirects from https to http, which is not followed")
    return urlunsplit(parts._replace(netloc=host, fragment=""))


def _is_empty(headers: Mapping[str, str]) -> bool:
    return headers.get("content-range", "").replace(" ", "") == "bytes*/0"


def _asked_to_wait(headers: Mapping[str, str]) -> float:
    text = headers.get("retry-after", "").strip()
    return min(float(text), _PATIENCE_S) if text.isascii() and text.isdigit() and len(text) < 6 else 0.0
