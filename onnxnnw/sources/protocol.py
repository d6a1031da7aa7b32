"""What the reader of networks needs of a place that holds bytes: a size, an identity, and many ranges at once."""

from collections.abc import Sequence
from typing import Protocol

__all__ = ["RandomAccess"]


class RandomAccess(Protocol):
    """Something remote that is read by range.

    ``size`` is the number of its bytes, ``identity`` equal for two readers of one version of one file, ``head`` its first bytes,
    which came with the size; ``is_remote`` says whether each read is a request.
    """

    is_remote: bool
    size: int
    head: bytes

    @property
    def identity(self) -> tuple[object, ...]:
        """What tells this version of the file from others."""

    def read_many(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Many ranges (start, stop), asked for at the same time.

        Raises:
            FileChanged: The file is no longer the one that was opened.
            CannotLook: It cannot be read, or more would be read than is allowed.
        """

    def unchanged(self) -> bool:
        """Whether what was read is what is still there."""

    def close(self) -> None:
        """Nothing will be read any more."""
