"""What an answer is about: a file by its SHA-256, with the files beside it that hold its weights."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

from onnxnnw.errors import FileChanged, UnreadableNetwork
from onnxnnw.files import open_descriptor
from onnxnnw.verification.visible import visible

__all__ = ["FileDigest", "NetworkFiles", "Signed", "absolute", "digest_of", "subject_of"]

_AT_ONCE = 2**20


@dataclass(frozen=True)
class FileDigest:
    """A file and what it held.

    Attributes:
        path: Where it was.
        sha256: Of its bytes, in hexadecimal.
        size: Bytes.
        state: What changes when somebody writes to it: size, time and inode.
    """

    path: Path
    sha256: str
    size: int
    state: tuple[int, int, int] = (0, 0, 0)

    @property
    def name(self) -> str:
        """Its name without folders, as it may be shown."""
        return visible(self.path.name)


@dataclass(frozen=True)
class NetworkFiles:
    """A network as files.

    Attributes:
        model: The model file.
        external: The files that hold weights for it.
        digest: Canonical digest of the network; empty where it was not asked for.
        network: Whether it is a network at all, and not a file that goes with one.
    """

    model: FileDigest
    external: tuple[FileDigest, ...] = ()
    digest: str = ""
    network: bool = True

    @property
    def files(self) -> tuple[FileDigest, ...]:
        """The model file first."""
        return (self.model, *self.external)

    def check_unchanged(self) -> None:
        """Refuse files that were written to since their digest was taken.

        Raises:
            FileChanged: One was.
        """
        for file in self.files:
            try:
                now = _state(file.path.stat())
            except OSError:
                now = (0, 0, 0)
            if now != file.state:
                raise FileChanged(f"{file.path}: changed while it was looked at")


@dataclass(frozen=True)
class Signed:
    """A network and who signed it.

    Attributes:
        root: What the signature's subject is: SHA-256 over the digests of all files that it covers; empty without signature.
        signer: SHA-256 of the public key; empty where nobody who was named signed it.
    """

    subject: NetworkFiles
    root: str = ""
    signer: str = ""

    @property
    def sentence(self) -> str:
        """What is known of it, in a few words."""
        by = f", signed by the key {self.signer[:16]}…" if self.signer else ""
        return f"{self.subject.model.name}{by}"


def digest_of(path: Path) -> FileDigest:
    """SHA-256 of a regular file.

    Raises:
        UnreadableNetwork: It cannot be opened, or is something else.
        FileChanged: It grew or shrank while it was read.
    """
    descriptor, status = open_descriptor(path, UnreadableNetwork)
    total, state = hashlib.sha256(), _state(status)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        size = 0
        while chunk := file.read(_AT_ONCE):
            total.update(chunk)
            size += len(chunk)
            if size > status.st_size:
                raise FileChanged(f"{path}: grew while it was read")
    if size != status.st_size:
        raise FileChanged(f"{path}: changed while it was read")
    return FileDigest(path, total.hexdigest(), size, state)


def subject_of(path: Path, canonical: bool = False) -> NetworkFiles:
    """A network's files by digest.

    Args:
        canonical: Also compute the canonical digest, which reads all weights once more.

    Raises:
        CannotLook: A file cannot be read, or is no network.
    """
    from onnxnnw.graph.digest import network_digests
    from onnxnnw.graph.slots import find_slots
    from onnxnnw.network_file.file import open_network

    model = digest_of(path)
    with open_network(path) as network:
        view = find_slots(network)
        digest = network_digests(network, view).network if canonical else ""
        places = [source.path for source in network.sources[1:] if isinstance(source.path, Path)]
        network.check_unchanged()
    return NetworkFiles(model, tuple(digest_of(place) for place in places), digest)


def absolute(path: Path) -> Path:
    """A path from the root on, without dots; links stay what they are."""
    return Path(os.path.normpath(path.absolute()))


def _state(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ino
