"""A connection to a Dask scheduler, whose workers scan a registry or do the steps of a campaign."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from onnxnnw.errors import CannotLook, MissingExtra, UsageError

__all__ = ["connected"]

ANSWER_S = 10.0
"""Seconds within which a scheduler has to answer."""


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """A ``distributed.Client``, closed in the end.

    Args:
        address: Of the scheduler.

    Raises:
        MissingExtra: Dask is not installed.
        UsageError: The address is none.
        CannotLook: Nobody answers there.
    """
    try:
        from distributed import Client
        from distributed.comm.addressing import parse_address, parse_host_port
    except ModuleNotFoundError as error:
        raise MissingExtra("dask", "cluster") from error
    try:
        scheme, place = parse_address(address)  # Client looks at it only once it has begun to connect
        if scheme in ("tcp", "tls"):
            parse_host_port(place)
        client: Any = Client(address, timeout=ANSWER_S, set_as_default=False)
    except ValueError as error:
        raise UsageError(f"{address!r} is no address of a Dask scheduler: {error}") from None
    except OSError as error:
        raise CannotLook(f"no Dask scheduler answers at {address}: {error}") from None
    with client:
        yield client
