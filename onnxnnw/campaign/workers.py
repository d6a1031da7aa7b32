"""Executors of steps: this process, other processes of this machine (loky), or a Dask cluster over a shared folder.

All three are asked through ``concurrent.futures``, joblib's loky and Dask's own executor included: steps depend on each
other, which ``joblib.Parallel`` has no word for.
"""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from typing import Any

from onnxnnw.dask_client import connected
from onnxnnw.errors import MissingExtra

__all__ = ["Workers", "in_this_process", "on_cluster", "on_this_machine"]


class Workers:
    """An executor, how many steps it does at once, and how to get a new one when its processes die.

    Args:
        start: Makes the executor.
        stop: Ends it, whatever it is doing: what its steps had done is on the disk.
        count: Steps at once; asked again whenever steps are handed out, as a cluster may grow.
        inline: Whether steps are done by whoever submits them.
    """

    def __init__(
        self,
        start: Callable[[], Executor],
        stop: Callable[[Executor], None],
        count: Callable[[], int],
        inline: bool = False,
    ) -> None:
        self._start, self._stop, self.count, self.inline = start, stop, count, inline
        self.executor = start()

    def restart(self) -> None:
        """Replace the executor after the death of a worker broke it."""
        self.stop()
        self.executor = self._start()

    def stop(self) -> None:
        """Shut the executor down without waiting for steps."""
        self._stop(self.executor)


class _Here(Executor):
    """Does each step when it is submitted."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


@contextmanager
def in_this_process() -> Iterator[Workers]:
    """An executor that runs each step in this process."""
    yield Workers(_Here, lambda executor: None, lambda: 1, inline=True)


@contextmanager
def on_this_machine(jobs: int) -> Iterator[Workers]:
    """An executor of processes on this machine.

    Args:
        jobs: How many; 0 means one per core.

    Raises:
        MissingExtra: joblib is not installed.
    """
    count = jobs or len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else jobs or os.cpu_count() or 1
    if count == 1:
        with in_this_process() as workers:
            yield workers
        return
    try:
        from joblib.externals.loky import ProcessPoolExecutor
    except ModuleNotFoundError as error:
        raise MissingExtra("joblib", "cluster") from error
    workers = Workers(
        lambda: ProcessPoolExecutor(count, initializer=_alone),
        _ended,
        lambda: count,
    )
    try:
        yield workers
    finally:
        workers.stop()


def _ended(executor: Any) -> None:
    """End busy processes with loky's own function."""
    executor.shutdown(wait=False, kill_workers=True)


def _alone() -> None:
    """Initialise a worker: the campaign handles Ctrl-C, and the worker ends with it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


@contextmanager
def on_cluster(address: str) -> Iterator[Workers]:
    """The workers of a Dask scheduler, which see the cache and the data under the same paths as this machine.

    Raises:
        MissingExtra: Dask is not installed.
        UsageError: The address is none.
        CannotLook: Nobody answers there.
    """
    with connected(address) as client:
        # not pure: Dask would remember the result of a step whose files are gone meanwhile
        workers = Workers(
            lambda: client.get_executor(pure=False),
            lambda executor: executor.shutdown(wait=False),
            lambda: max(1, sum(client.nthreads().values())),
        )
        try:
            yield workers
        finally:
            workers.stop()
