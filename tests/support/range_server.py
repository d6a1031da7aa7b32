"""An HTTP server that hands out ranges of files, slowly or wrongly as a test wishes; keep-alive, any number of connections."""

import asyncio
import re
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["RangeServer", "Reply", "Request", "serve"]


@dataclass(frozen=True)
class Request:
    """What was asked: a number from 0 on, the target, headers in lower case."""

    number: int
    target: str
    headers: dict[str, str]
    body: bytes = b""

    @property
    def path(self) -> str:
        """The path, decoded."""
        return unquote(urlsplit(self.target).path)

    @property
    def range(self) -> tuple[int, int] | None:
        """First and last byte that are wanted."""
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", ""))
        return (int(found[1]), int(found[2])) if found else None


@dataclass
class Reply:
    """What is answered; ``cut`` bytes of the body are sent before the connection ends, ``wait`` seconds pass before.

    The body of a whole file that is large stands in ``file``.
    """

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    cut: int | None = None
    wait: float = 0.0
    file: Path | None = None


LARGE = 64 * 2**20
"""Bytes from which on a whole file is sent piece by piece."""

Behaviour = Callable[[Request, Reply], Reply]


class RangeServer:
    """A server of a folder; a context manager. Its requests are kept for the test to look at."""

    def __init__(self, folder: Path, latency: float = 0.0, behave: Behaviour | None = None, log: bool = True) -> None:
        self.folder, self.latency, self.behave, self.log = folder, latency, behave, log
        self.requests: list[Request] = []
        self.sent = self.connections = self._count = 0
        self._ready = threading.Event()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> "RangeServer":
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), daemon=True)
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *exception: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0, backlog=256)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while await self._exchange(reader, writer):
                pass
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {n.strip().lower(): v.strip() for n, _, v in (line.partition(":") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        request = Request(self._count, head[0].split(" ")[1], headers, body)
        self._count += 1
        if self.log:
            self.requests.append(request)
        reply = self.plain(request)
        if self.behave is not None:
            reply = self.behave(request, reply)
        await asyncio.sleep(self.latency + reply.wait)
        named = {name.lower() for name in reply.headers}
        lines = [f"HTTP/1.1 {reply.status} x", *(f"{n}: {v}" for n, v in reply.headers.items() if v is not None)]
        if "content-length" not in named:
            lines.append(f"Content-Length: {len(reply.body)}")
        content = reply.body if reply.cut is None else reply.body[: reply.cut]
        self.sent += len(content)
        writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + content)
        await writer.drain()
        if reply.file is not None:
            with reply.file.open("rb") as file:
                while piece := file.read(2**20):
                    writer.write(piece)
                    await writer.drain()
                    self.sent += len(piece)
        return reply.cut is None and "content-length" not in {n for n in named if reply.headers.get(n) is None}

    def plain(self, request: Request) -> Reply:
        """What an honest server answers."""
        path = self.folder / request.path.lstrip("/")
        if not path.is_file() or ".." in request.path:
            return Reply(404)
        status = path.stat()
        etag = f'"{status.st_mtime_ns:x}-{status.st_size:x}"'
        if request.headers.get("if-match", etag) != etag:
            return Reply(412)
        wanted = request.range
        if wanted is None and status.st_size > LARGE:
            return Reply(200, {"ETag": etag, "Content-Length": str(status.st_size)}, file=path)
        if wanted is None:
            return Reply(200, {"ETag": etag}, path.read_bytes())
        first, last = wanted[0], min(wanted[1], status.st_size - 1)
        if first >= status.st_size:
            return Reply(416, {"Content-Range": f"bytes */{status.st_size}"})
        with path.open("rb") as file:
            file.seek(first)
            body = file.read(last - first + 1)
        return Reply(206, {"ETag": etag, "Content-Range": f"bytes {first}-{last}/{status.st_size}"}, body)


def serve(folder: Path, latency: float) -> None:
    """Serve a folder until the input ends; the address is the first line of output."""
    with RangeServer(folder, latency, log=False) as server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    serve(Path(sys.argv[1]), float(sys.argv[2]))
