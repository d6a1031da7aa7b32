"""The cache that the hub's own tools keep on this disk: a file of it is read where its content is what the hub names now.

Layout: ``models--OWNER--NAME`` with ``refs/REVISION`` (a commit), ``snapshots/COMMIT/PATH`` (links) and ``blobs/ETAG`` (contents)
[huggingface_hub, "Understand caching"]. The hub is asked first, for the name of its content alone; with HF_HUB_OFFLINE it is not.
"""

import os
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

from onnxnnw.errors import FileChanged
from onnxnnw.files import open_descriptor, read_at
from onnxnnw.sources.addresses import Address
from onnxnnw.sources.answers import Refused
from onnxnnw.sources.http_ranges import FIRST, ask_headers
from onnxnnw.sources.limits import Budget

__all__ = ["CachedRanges", "cached", "cached_commit", "hub_folder", "is_offline", "repository_folder"]

_HEX = re.compile(r"[0-9a-f]{6,128}")
_MAX_SNAPSHOTS, _MAX_REF = 2000, 200


class CachedRanges:
    """A file of the cache, read as a remote one is; see ``protocol.RandomAccess``."""

    is_remote = False

    def __init__(self, path: Path, shown: str) -> None:
        self._path, self._shown = path, shown
        self._descriptor, status = open_descriptor(path, Refused, f"{shown}: {path}")
        self.size = status.st_size
        self._identity = _identity(status)
        self._lock = threading.Lock()
        self.head = self._read(0, min(FIRST, self.size))

    @property
    def identity(self) -> tuple[object, ...]:
        """Size, modification time, inode and device."""
        return self._identity

    def unchanged(self) -> bool:
        """Whether it is still what was opened."""
        try:
            with self._lock:
                return self._descriptor < 0 or (
                    _identity(os.fstat(self._descriptor)) == self._identity == _identity(self._path.stat())
                )
        except OSError:
            return False

    def read_many(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Many ranges (start, stop).

        Raises:
            FileChanged: The file is no longer the one that was opened.
        """
        if not self.unchanged():
            raise FileChanged(f"{self._shown}: the file changed while it was read")
        return [self._read(start, stop) for start, stop in ranges]

    def _read(self, start: int, stop: int) -> bytes:
        pieces = []
        while start < stop:
            piece = read_at(self._descriptor, stop - start, start)
            if not piece:
                raise FileChanged(f"{self._shown}: the file became shorter while it was read")
            pieces.append(piece)
            start += len(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """Nothing will be read any more."""
        with self._lock:
            if self._descriptor >= 0:
                os.close(self._descriptor)
                self._descriptor = -1


def _identity(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev


def is_offline() -> bool:
    """Whether the environment says that the hub is not to be asked."""
    return os.environ.get("HF_HUB_OFFLINE", "").strip().upper() in ("1", "ON", "YES", "TRUE")


def hub_folder() -> Path:
    """Where the hub's tools keep their cache, whether there is one or not."""
    environment = os.environ.get
    place = environment("HF_HUB_CACHE", "").strip() or environment("HUGGINGFACE_HUB_CACHE", "").strip()
    if not place:
        home = environment("HF_HOME", "").strip()
        if not home:
            general = environment("XDG_CACHE_HOME", "").strip()
            home = str((Path(general) if general else Path.home() / ".cache") / "huggingface")
        place = str(Path(home) / "hub")
    return Path(place).expanduser()


def repository_folder(owner: str, name: str) -> Path:
    """Where they keep a repository, if they do."""
    return hub_folder() / f"models--{owner}--{name}"


def cached_commit(folder: Path, revision: str) -> str:
    """Which commit the cache takes a revision for; empty where it knows none."""
    if _HEX.fullmatch(revision) and (folder / "snapshots" / revision).is_dir():
        return revision
    if ".." in revision.split("/"):
        return ""
    try:
        commit = (folder / "refs" / revision).read_text()[:_MAX_REF].strip()
    except (OSError, ValueError):
        return ""
    return commit if _HEX.fullmatch(commit) and (folder / "snapshots" / commit).is_dir() else ""


def cached(address: Address, allowed: Budget) -> CachedRanges | None:
    """A file of the hub as it lies on this disk, where that is what the hub has; else None.

    Args:
        address: Any; only those of the hub have a cache.
        allowed: What may be asked; what was found here is said in it.

    Raises:
        Refused: The hub cannot be asked, or is not to be asked and nothing lies here.
    """
    found = _parts(address)
    if found is None:
        return None
    folder, revision, path = found
    shown = str(address)
    if is_offline():
        commit = cached_commit(folder, revision)
        place = _inside(folder, folder / "snapshots" / commit / path) if commit else None
        if place is None:
            raise Refused(f"{shown}: HF_HUB_OFFLINE is set, and the cache in {folder} does not hold this file")
        allowed.say(f"{shown} is read from {place}, commit {commit[:12]}; the hub was not asked (HF_HUB_OFFLINE)")
        return CachedRanges(place, shown)
    if not _is_there(folder, path):
        return None
    try:
        headers = ask_headers(address, allowed)
    except Refused as reason:
        raise Refused(f"{reason}; with HF_HUB_OFFLINE=1 the copy in the hub's cache is looked at") from None
    return _same(folder, path, headers, shown, allowed)


def _same(folder: Path, path: str, headers: dict[str, str], shown: str, allowed: Budget) -> CachedRanges | None:
    """The cached file that has the content that the hub names, if there is one."""
    commit = headers.get("x-repo-commit", "")
    etag = (headers.get("x-linked-etag") or headers.get("etag", "")).removeprefix("W/").strip('"')
    size = headers.get("x-linked-size", "")
    if not _HEX.fullmatch(etag) or not _HEX.fullmatch(commit):
        return None
    place = _inside(folder, folder / "blobs" / etag)
    if place is None:  # without links, a snapshot holds the contents themselves
        place = _inside(folder, folder / "snapshots" / commit / path)
        if place is not None and place.parent == (folder / "blobs").resolve():
            place = None  # it leads to another content than the hub has now
    ranges = CachedRanges(place, shown) if place is not None else None
    if ranges is not None and (not size or size == str(ranges.size)):
        named = f"the hub names this content, {etag[:12]} of commit {commit[:12]}; it was not hashed anew"
        allowed.say(f"{shown} is read from {place}: {named}")
        return ranges
    if ranges is not None:
        ranges.close()
    allowed.say(f"{shown} is read from the hub: the cache in {folder} holds another version of it")
    return None


def _parts(address: Address) -> tuple[Path, str, str] | None:
    """The cache's folder, revision and path of an address of the hub."""
    if not address.shown.startswith("hf://"):
        return None
    before, found, after = urlsplit(address.url).path.partition("/resolve/")
    revision, _, path = after.partition("/")
    names = [unquote(part) for part in before.split("/")[-2:]]
    parts = [*names, *unquote(path).split("/")]
    if not found or len(names) < 2 or any(part in ("", ".", "..") or "\0" in part or "\\" in part for part in parts):
        return None
    return repository_folder(*names), unquote(revision), unquote(path)


def _is_there(folder: Path, path: str) -> bool:
    """Whether any version of a file is in the cache."""
    try:
        with os.scandir(folder / "snapshots") as entries:
            commits = [entry.name for entry, _ in zip(entries, range(_MAX_SNAPSHOTS), strict=False)]
    except OSError:
        return False
    return any((folder / "snapshots" / commit / path).is_file() for commit in commits)


def _inside(folder: Path, place: Path) -> Path | None:
    """Where a file of the cache really lies; None where it is not there, or leads out of its repository."""
    try:
        real = place.resolve(strict=True)
    except (OSError, RuntimeError, ValueError):
        return None
    return real if real.is_file() and real.is_relative_to(folder.resolve()) else None
