"""An opened file that bytes are read from, and whether it is still the same."""

import os
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Source", "identity_of", "will_need"]


@dataclass(frozen=True, slots=True)
class Source:
    """A file that holds weights: the model itself or external data."""

    path: Path
    descriptor: int
    size: int
    identity: tuple[int, int, int, int]

    def unchanged(self) -> bool:
        """Whether size, modification time and inode are as they were when it was opened, and the path still leads here."""
        try:
            return identity_of(os.fstat(self.descriptor)) == self.identity == identity_of(self.path.stat())
        except OSError:
            return False


def will_need(descriptor: int, offset: int, length: int) -> None:
    """Let the kernel fetch a piece while others are asked for: a cold file answers many questions at once."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, offset, length, os.POSIX_FADV_WILLNEED)


def identity_of(status: os.stat_result) -> tuple[int, int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ino, status.st_dev
