"""A scan over many machines: pages of one database, handed out to the workers of a Dask scheduler.

Each worker opens the database and the candidate by itself, under the same names as here. What a worker that died had not finished
is done by another one; a part is counted once, however often it was begun.
"""

import hashlib
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from onnxnnw.dask_client import connected
from onnxnnw.errors import CannotLook, FileChanged, TraceabilityError
from onnxnnw.network_file.file import Network, open_network
from onnxnnw.registry.encryption import vault_of
from onnxnnw.registry.scan import Part, Parts, Scanner
from onnxnnw.registry.scan_pages import Page
from onnxnnw.registry.store import Registry
from onnxnnw.verification.looking import Looking

__all__ = ["on_cluster"]

_PAGES, _PARTS = 64, 4
"""Pages of a part at most, and parts for each thread of the cluster, so that a slow worker holds up little."""

_AT_ONCE = 2**20


@contextmanager
def on_cluster(
    scheduler: str, place: str, key_file: Path | None, candidate: Path | str, network: Network, thorough: bool
) -> Iterator[Parts]:
    """What scans pages on the workers of a cluster; see ``scan``.

    Args:
        scheduler: Address of a Dask scheduler.
        place: The registry, under a name by which the workers can open it too.
        key_file: Its key, if it is encrypted.
        candidate: The candidate, under such a name.
        network: The same, opened here: workers refuse another file.

    Raises:
        MissingExtra: Dask is not installed.
        UsageError: The address is none.
        CannotLook: Nobody answers there, or there is no worker.
    """
    where = str(place) if "://" in str(place) else str(Path(place).absolute())
    what = candidate if isinstance(candidate, str) and "://" in candidate else str(Path(candidate).absolute())
    key = None if key_file is None else str(key_file.absolute())
    digest = _digest(network)
    with connected(scheduler) as client:
        from distributed import as_completed
        from distributed.scheduler import KilledWorker

        threads = sum(client.nthreads().values())
        if not threads:
            raise CannotLook(f"the scheduler at {scheduler} has no workers")

        def parts(group: int, pages: Sequence[Page]) -> Iterable[Part]:
            size = max(1, min(_PAGES, len(pages) // (_PARTS * threads)))
            some = [list(pages[start : start + size]) for start in range(0, len(pages), size)]
            tasks = [client.submit(_part, where, key, what, digest, thorough, group, one, pure=False) for one in some]
            try:
                for task in as_completed(tasks, loop=client.loop):
                    try:
                        yield task.result()
                    except KilledWorker:
                        raise CannotLook("workers of the cluster died again and again over one part") from None
            finally:
                client.cancel(tasks)

        yield parts


def _digest(network: Network) -> str:
    """Of the candidate's files, or of what tells a version behind an address from others."""
    total = hashlib.sha256()
    for source in network.sources:
        if not isinstance(source.path, Path):
            total.update(repr(source.identity[1:]).encode())
            continue
        with source.path.open("rb") as file:
            while block := file.read(_AT_ONCE):
                total.update(block)
    return total.hexdigest()


class _Kept:
    """What a worker has open: one registry and one candidate, for all parts that it gets of them."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.question: tuple[object, ...] = ()
        self.opened = ExitStack()
        self.scanner: Scanner | None = None

    def of(self, place: str, key: str | None, candidate: str, digest: str, thorough: bool) -> Scanner:
        """What scans for a question; it is opened where it is another one than the last."""
        question = place, key, candidate, digest, thorough
        if self.scanner is None or question != self.question:
            self.opened.close()
            self.opened, self.scanner = ExitStack(), None
            with ExitStack() as opened:
                registry = opened.enter_context(Registry(place, vault=vault_of(None if key is None else Path(key))))
                network = opened.enter_context(open_network(candidate if "://" in candidate else Path(candidate)))
                if _digest(network) != digest:
                    raise FileChanged(f"{candidate}: is another file on a worker of the cluster than here")
                self.scanner = Scanner(registry, Looking(network, [], 1e-6, False, 1), thorough)
                self.question, self.opened = question, opened.pop_all()
        return self.scanner


_kept = _Kept()


def _part(
    place: str, key: str | None, candidate: str, digest: str, thorough: bool, group: int, pages: list[Page]
) -> Part:
    """A part, on a worker."""
    with _kept.lock:  # a worker with several threads: a scan has threads of its own
        try:
            return _kept.of(place, key, candidate, digest, thorough).part(group, pages)
        except TraceabilityError as error:
            raise CannotLook(f"on a worker of the cluster: {error}") from None
