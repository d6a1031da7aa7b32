"""Pointers of Git LFS: which content they name, and where on this disk that lies already.

[github.com/git-lfs/git-lfs, docs/spec.md.] Nothing is fetched and nothing else is looked at: a pointer is the answer of whoever
handed the file out.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from onnxnnw.sources.hub_cache import hub_folder

__all__ = ["Pointer", "pointer_in"]

_POINTER = re.compile(
    rb"\Aversion https://git-lfs\.github\.com/spec/[^\n]{1,20}\n(?:ext[^\n]{1,200}\n)*oid sha256:([0-9a-f]{64})\nsize (\d{1,18})\n"
)
_MAX_FOLDERS, _MAX_REPOSITORIES = 40, 2000


@dataclass(frozen=True)
class Pointer:
    """What a pointer names.

    Attributes:
        digest: SHA-256 of the content, as hex digits.
        size: Its bytes.
    """

    digest: str
    size: int

    def content_near(self, path: Path) -> Path | None:
        """Where the content lies on this disk: in the checkout's own store, or in the hub's cache; None where in neither."""
        places = [store / self.digest[:2] / self.digest[2:4] / self.digest for store in _stores(path)]
        try:
            with os.scandir(hub_folder()) as entries:
                names = [entry.name for entry, _ in zip(entries, range(_MAX_REPOSITORIES), strict=False)]
        except OSError:
            names = []
        places += [hub_folder() / name / "blobs" / self.digest for name in names]
        return next((place for place in places if self._is_at(place)), None)

    def _is_at(self, place: Path) -> bool:
        try:
            return place.is_file() and place.stat().st_size == self.size
        except OSError:
            return False


def pointer_in(head: bytes) -> Pointer | None:
    """The pointer that a file is; None where it is none."""
    found = _POINTER.search(head)
    return Pointer(found[1].decode(), int(found[2])) if found else None


def _stores(path: Path) -> list[Path]:
    """Where the checkout that a file lies in keeps the contents of pointers; work trees and submodules share one elsewhere."""
    try:
        folders = [path.resolve().parent, *path.resolve().parent.parents][:_MAX_FOLDERS]
        own = next((folder / ".git" for folder in folders if (folder / ".git").exists()), None)
        if own is None:
            return []
        if own.is_file():
            own = own.parent / own.read_text()[:4096].partition("gitdir:")[2].strip()
        shared = own / "commondir"
        common = own / shared.read_text()[:4096].strip() if shared.is_file() else own
    except (OSError, ValueError):
        return []
    return [place / "lfs" / "objects" for place in dict.fromkeys((own, common))]
