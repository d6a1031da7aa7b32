"""Which files a policy speaks of, and which networks lie in a folder: found by content, not by name."""

import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from onnxnnw.errors import CannotLook, UnreadableNetwork, UsageError
from onnxnnw.evidence.subject import absolute
from onnxnnw.files import open_descriptor
from onnxnnw.network_file.containers import is_ort
from onnxnnw.network_file.wire import read_exactly

__all__ = ["changed_since", "expand", "is_network", "matches", "networks_in", "relative"]

MAX_FIELDS = 10_000
"""Fields of a model at its top: a file with more is called a network, and refused when it is read."""

GRAPH, LENGTH_DELIMITED = 7, 2
MAX_FILES = 1_000_000
GIT_SECONDS = 120


def relative(path: Path, folder: Path) -> str:
    """A path from a folder on, with slashes; with ``..`` where it lies outside."""
    return Path(os.path.relpath(absolute(path), absolute(folder))).as_posix()


def matches(name: str, globs: Iterable[str]) -> bool:
    """Whether a path from the policy's folder on is one of some globs'; ``**`` stands for any folders, none included."""
    return any(_pattern(glob).fullmatch(name) for glob in globs)


@lru_cache(4096)
def _pattern(glob: str) -> re.Pattern[str]:
    glob = os.path.normpath(glob).replace(os.sep, "/")
    out, place = "", 0
    while place < len(glob):
        if glob.startswith("**/", place):
            out, place = out + "(?:[^/]+/)*", place + 3
        elif glob.startswith("**", place):
            out, place = out + ".*", place + 2
        elif glob[place] == "*":
            out, place = out + "[^/]*", place + 1
        elif glob[place] == "?":
            out, place = out + "[^/]", place + 1
        else:
            out, place = out + re.escape(glob[place]), place + 1
    return re.compile(out, re.DOTALL)


def expand(folder: Path, glob: str) -> list[Path]:
    """The files of a glob, sorted; of a plain path that path, whether it is there or not."""
    if not any(c in glob for c in "*?"):
        return [folder / glob]
    before, _, _ = re.split(r"[*?]", glob, maxsplit=1)[0].rpartition("/")
    start = folder / before if before else folder
    if not start.is_dir():
        return []
    return [path for path in _files(start) if matches(relative(path, folder), [glob])]


def networks_in(folder: Path) -> list[Path]:
    """The networks in a folder and below, by content; and what is called one and is none, which has to be said.

    Raises:
        CannotLook: A folder cannot be read.
    """
    return [path for path in _files(folder) if path.suffix.lower() == ".onnx" or is_network(path)]


def _files(folder: Path) -> Iterator[Path]:
    """Files below a folder, sorted; version control's own and links to folders are left out."""
    seen = 0
    refused: list[OSError] = []
    for place, folders, names in os.walk(folder, onerror=refused.append):
        folders[:] = sorted(name for name in folders if name != ".git")
        for name in sorted(names):
            seen += 1
            if seen > MAX_FILES:
                raise UsageError(f"{folder}: holds more than {MAX_FILES:,} files")
            yield Path(place) / name
    if refused:
        raise CannotLook(f"{refused[0].filename}: cannot be read: {refused[0].strerror}")


def is_network(path: Path) -> bool:
    """Whether a file is built as an ONNX model, fields of protobuf up to its end, a graph among them, or begins as a `.ort`."""
    try:
        descriptor, status = open_descriptor(path, UnreadableNetwork)
    except UnreadableNetwork:
        return False
    try:
        return is_ort(read_exactly(descriptor, min(8, status.st_size), 0)) or _has_graph(descriptor, status.st_size)
    finally:
        os.close(descriptor)


def _has_graph(descriptor: int, size: int) -> bool:
    place, fields, graph = 0, 0, False
    while place < size:
        head = read_exactly(descriptor, min(20, size - place), place)
        tag, used = _varint(head)
        field, wire = tag >> 3, tag & 7
        if not used or not field:
            return False
        if wire == LENGTH_DELIMITED:
            length, more = _varint(head[used:])
            if not more:
                return False
            graph |= field == GRAPH
            place += used + more + length
        elif wire in (1, 5):
            place += used + (8 if wire == 1 else 4)
        elif wire == 0:
            _, more = _varint(head[used:])
            if not more:
                return False
            place += used + more
        else:
            return False
        fields += 1
        if fields > MAX_FIELDS:
            return True
    return graph and place == size


def _varint(data: bytes) -> tuple[int, int]:
    """A number and the bytes that it takes; none where it does not end."""
    value = 0
    for index, byte in enumerate(data[:10]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, index + 1
    return 0, 0


def changed_since(paths: Sequence[Path], revision: str, kept: Iterable[Path]) -> list[Path]:
    """Those of some networks that are not as they were at a revision, or stand beside a file that is not: it may hold weights.

    Args:
        revision: As git names it.
        kept: Policy, records and the like: where one of them changed, nothing is left out.

    Raises:
        UsageError: The revision is none.
        CannotLook: There is no git, no repository, or no such revision.
    """
    if not revision or revision.startswith("-"):
        raise UsageError(f"{revision!r} is no revision; give one as git names it: HEAD~1, main, a hash")
    if not paths:
        return []
    top = Path(_git(paths[0].parent, "rev-parse", "--show-toplevel").decode("utf-8", "surrogateescape").strip("\n"))
    changed = _git(top, "diff", "--name-only", "--no-renames", "-z", revision, "--")
    new = _git(top, "ls-files", "--others", "--exclude-standard", "-z")
    names = {os.fsdecode(name) for name in (changed + new).split(b"\0") if name}
    files = {os.path.realpath(top / name) for name in names}
    if any(os.path.realpath(path) in files for path in kept):
        return list(paths)
    own = {os.path.realpath(path) for path in paths}
    beside = [name.rpartition(os.sep)[0] for name in files - own]
    return [path for path in paths if _touched(os.path.realpath(path), files, beside)]


def _touched(path: str, files: set[str], beside: Sequence[str]) -> bool:
    folder = path.rpartition(os.sep)[0]
    return path in files or any(place == folder or place.startswith(folder + os.sep) for place in beside)


def _git(folder: Path, *arguments: str) -> bytes:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments], capture_output=True, timeout=GIT_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotLook(f"git cannot be asked what changed: {error}") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise CannotLook(f"git cannot say what changed: {said[0][:200] if said else 'no reason given'}")
    return done.stdout
