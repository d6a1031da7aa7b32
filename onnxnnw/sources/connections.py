"""A pool of HTTP connections: kept alive, shared by threads, with time limits."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from onnxnnw.errors import MissingExtra
from onnxnnw.sources.addresses import origin
from onnxnnw.sources.answers import Refused

if TYPE_CHECKING:
    import urllib3

__all__ = ["CONNECTIONS", "Broken", "Connections", "body_of", "kind_of", "whole_of"]

CONNECTIONS = 32
_CONNECT_S, _READ_S = 10.0, 30.0
_SLOWEST = 2**14
"""Bytes a second below which a server is given up."""

_MAX_DOCUMENT = 32 * 2**20


class Broken(Exception):
    """The connection ended before the answer did."""


class Connections:
    """A pool of connections to any number of servers."""

    def __init__(self, count: int = CONNECTIONS) -> None:
        self._count = count
        self._pools: dict[tuple[str, str, int], Any] = {}
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None
        self.over = threading.Event()

    def run(self, call: Callable[[int, int], bytes], ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """The results of a call for each range, many at a time; the first error ends the others."""
        if len(ranges) == 1:
            return [call(*ranges[0])]
        with self._lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(self._count, "ranges")
        jobs = [self._executor.submit(call, start, stop) for start, stop in ranges]
        try:
            return [job.result() for job in jobs]
        except BaseException:
            self.over.set()
            for job in jobs:
                job.cancel()
            raise

    def get(self, url: str, headers: dict[str, str], body: bytes | None = None) -> "urllib3.BaseHTTPResponse":
        """A server's answer, its body not read yet; no redirect is followed, nothing is tried twice.

        Args:
            url: Where to.
            headers: Of the request.
            body: What is posted; None to get.

        Raises:
            Broken: There is none.
        """
        pool = self._pool(url)
        import urllib3

        parts = urlsplit(url)
        path = parts.path or "/"
        try:
            return pool.urlopen(  # type: ignore[no-any-return]
                "GET" if body is None else "POST",
                f"{path}?{parts.query}" if parts.query else path,
                body=body,
                headers=headers,
                preload_content=False,
                decode_content=False,
                redirect=False,
                retries=False,
                timeout=urllib3.Timeout(connect=_CONNECT_S, read=_READ_S),
            )
        except (urllib3.exceptions.HTTPError, ValueError) as error:
            raise Broken(kind_of(error)) from None  # its own words may repeat the address with everything secret in it

    def _pool(self, url: str) -> Any:
        with self._lock:
            key = origin(url)
            if key not in self._pools:
                self._pools[key] = _pool_for(url, self._count)
            return self._pools[key]

    def close(self) -> None:
        """End all connections."""
        self.over.set()
        if self._executor is not None:
            self._executor.shutdown(cancel_futures=True)
        for pool in self._pools.values():
            pool.close()


def _pool_for(url: str, connections: int) -> Any:
    """Connections to one server, through the proxy that the environment names for it."""
    try:
        import urllib3
    except ImportError:
        raise MissingExtra("urllib3", "remote") from None
    from urllib.request import getproxies, proxy_bypass

    scheme, host, port = origin(url)
    proxy = getproxies().get(scheme)
    if proxy and not proxy_bypass(f"{host}:{port}"):
        manager: urllib3.PoolManager = urllib3.ProxyManager(proxy, maxsize=connections, block=True)
    else:
        manager = urllib3.PoolManager(maxsize=connections, block=True)
    return manager.connection_from_host(host, port, scheme)


def body_of(response: "urllib3.BaseHTTPResponse", length: int) -> bytes:
    """Exactly so many bytes of an answer, within the time limit."""
    import urllib3

    end = time.monotonic() + _READ_S + length / _SLOWEST
    pieces, left = [], length
    try:
        while left:
            piece = response.read(min(left, 2**18))
            if not piece:
                raise Broken("the answer ended early")
            pieces.append(piece)
            left -= len(piece)
            if time.monotonic() > end:
                raise Broken("the server is too slow")
        if response.headers.get("content-length") is None and response.read(1):
            raise Refused("the server sends more than was asked for; download the file")
    except urllib3.exceptions.HTTPError as error:
        response.close()
        raise Broken(kind_of(error)) from None
    except BaseException:
        response.close()
        raise
    response.release_conn()
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def whole_of(response: "urllib3.BaseHTTPResponse") -> bytes:
    """All of a small answer."""
    import urllib3

    try:
        content = bytes(response.read(_MAX_DOCUMENT + 1))
    except urllib3.exceptions.HTTPError as error:
        raise Broken(kind_of(error)) from None
    finally:
        response.close()
    if len(content) > _MAX_DOCUMENT:
        raise Refused(f"the server's answer is longer than {_MAX_DOCUMENT:,} bytes")
    return content


def kind_of(error: BaseException) -> str:
    """What went wrong, without words that a server or an address had a part in."""
    if isinstance(error, Broken):
        return str(error)
    name = type(error).__name__
    return {
        "NameResolutionError": "no such host",
        "NewConnectionError": "nobody answers there",
        "ConnectTimeoutError": "nobody answered in time",
        "ReadTimeoutError": "the server is too slow",
        "SSLError": "its certificate is not trusted",
        "ProtocolError": "the connection was broken off",
        "IncompleteRead": "the answer ended early",
    }.get(name, name)
