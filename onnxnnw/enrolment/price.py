"""What a mark costs: the outputs of the marked copy beside those of the original, on the owner's samples or on drawn inputs."""

import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxnnw.errors import CannotLook, MissingData, UnreadableData, UsageError
from onnxnnw.runtime import Port, Runtime, open_runtime

__all__ = ["Price", "price_of", "refuse_samples"]

Array = NDArray[Any]

DRAWN, DRAWN_SECONDS = 32, 2.0
"""Inputs that are drawn where nobody brings samples, and how long they are tried."""

MAX_SAMPLES, MAX_BYTES = 100_000, 2**31
_OPEN_DIMENSIONS = (16, 32, 64, 128, 224, 320)
"""Lengths that are tried for dimensions that the network leaves open: its inner shapes may need a multiple, or a least size."""
_CLASSES = (2, 100_000)
"""Lengths of the last axis of outputs whose largest number is an answer: scores of classes, of words."""


@dataclass(frozen=True)
class Price:
    """How far the outputs of two networks lie apart.

    Attributes:
        samples: Inputs that were tried.
        drawn: Whether they were drawn, and not the owner's.
        agreement: Share of the rows of the first output whose largest number stands in the same place; None where it has no rows.
        psnr_db: Of the first output beside the original's, its own range as the peak; infinite where they are equal.
        relative: Root mean square of the difference over that of the original's outputs.
    """

    samples: int
    drawn: bool
    agreement: float | None
    psnr_db: float
    relative: float

    @property
    def sentence(self) -> str:
        """For people."""
        what = f"{self.samples:,} {'drawn inputs' if self.drawn else 'samples'}"
        same = f"the largest is the same in {self.agreement:.2%}, " if self.agreement is not None else ""
        psnr = "equal to" if math.isinf(self.psnr_db) else f"{self.psnr_db:.1f} dB beside"
        return f"first output on {what}: {same}{psnr} the original's"

    def to_json(self) -> dict[str, Any]:
        """The documented form; an infinite PSNR is null."""
        return {
            "samples": self.samples,
            "drawn": self.drawn,
            "agreement": self.agreement,
            "psnr_db": None if math.isinf(self.psnr_db) else round(self.psnr_db, 3),
            "relative": self.relative,
        }


def price_of(original: Path | str, marked: Path | str, samples: Path | str | None = None) -> Price:
    """Run both networks and compare their first outputs.

    Args:
        original, marked: ONNX files with the same inputs.
        samples: An .npz file with an array for each input of the network (or one array for its only input), samples first; or a
            folder of .npy files, one sample each, for a network with one input. None draws inputs by their declared types.

    Raises:
        CannotLook: A network cannot be run, or not with such inputs; or its outputs are not finite numbers of one shape.
        UsageError: The samples do not fit the network.
    """
    before, after = open_runtime(original), open_runtime(marked)
    feeds = drawn_inputs(before) if samples is None else _given(before, Path(samples))
    end = math.inf if samples is not None else time.monotonic() + DRAWN_SECONDS
    sums = _Sums()
    for feed in feeds:
        if sums.samples and time.monotonic() > end:
            break
        sums.add(_first_output(before, feed), _first_output(after, feed))
    if not sums.samples:
        raise UnreadableData(f"{samples} holds no samples")
    return sums.price(drawn=samples is None)


def refuse_samples(model: Path | str, samples: Path | str) -> None:
    """Refuse samples that do not fit a network, before it is marked.

    Raises:
        CannotLook, UsageError: See ``price_of``.
    """
    runtime = open_runtime(model)
    feed = next(_given(runtime, Path(samples)), None)
    if feed is None:
        raise UnreadableData(f"{samples} holds no samples")
    _first_output(runtime, feed)


def _first_output(runtime: Runtime, feed: Mapping[str, Array]) -> NDArray[np.float64]:
    name, value = next(iter(runtime.run(feed).items()))
    if not isinstance(value, np.ndarray) or value.dtype.kind not in "fiub":
        raise CannotLook(f"the output {name} is no array of numbers, which could be compared")
    out = value.astype(np.float64)
    if not np.isfinite(out).all():
        raise CannotLook(f"the output {name} has numbers that are not finite, which cannot be compared")
    return out


@dataclass
class _Sums:
    """What a price is computed from, sample by sample."""

    samples: int = 0
    numbers: int = 0
    difference: float = 0.0
    power: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    rows: int = 0
    alike: int = 0

    def add(self, left: NDArray[np.float64], right: NDArray[np.float64]) -> None:
        if left.shape != right.shape:
            raise CannotLook(
                f"the outputs have different shapes, {left.shape} and {right.shape}: they cannot be compared"
            )
        self.samples += 1
        self.numbers += left.size
        self.difference += float(np.square(right - left).sum())
        self.power += float(np.square(left).sum())
        self.low, self.high = (
            min(self.low, float(left.min(initial=math.inf))),
            max(self.high, float(left.max(initial=-math.inf))),
        )
        if 2 <= left.ndim <= 3 and _CLASSES[0] <= left.shape[-1] <= _CLASSES[1]:
            same = left.argmax(-1) == right.argmax(-1)
            self.rows, self.alike = self.rows + same.size, self.alike + int(same.sum())

    def price(self, drawn: bool) -> Price:
        mean = self.difference / max(1, self.numbers)
        peak = (self.high - self.low) or 1.0
        return Price(
            samples=self.samples,
            drawn=drawn,
            agreement=self.alike / self.rows if self.rows else None,
            psnr_db=10 * math.log10(peak**2 / mean) if mean > 0 else math.inf,
            relative=math.sqrt(self.difference / self.power) if self.power > 0 else 0.0,
        )


def drawn_inputs(runtime: Runtime, count: int = DRAWN, seed: int = 0) -> Iterator[dict[str, Array]]:
    """Inputs of the declared types and shapes: normal numbers, small integers.

    Open dimensions are 1 first, and behind it the smallest length at which the network runs.

    Raises:
        CannotLook: It runs at none, or an input cannot be drawn.
    """
    for number, length in enumerate(_OPEN_DIMENSIONS):
        rng = np.random.default_rng(seed)
        feeds = ({port.name: _drawn(port, rng, length) for port in runtime.inputs} for _ in range(count))
        first = next(feeds)
        is_open = any(not isinstance(one, int) or one <= 0 for port in runtime.inputs for one in (port.shape or ())[1:])
        try:
            runtime.run(first)
        except (CannotLook, UsageError) as error:
            if not is_open or number + 1 == len(_OPEN_DIMENSIONS):
                raise CannotLook(f"inputs could not be drawn: {error}; bring samples") from error
            continue
        yield first
        yield from feeds
        return


def _drawn(port: Port, rng: np.random.Generator, open_length: int) -> Array:
    shape = [
        length if isinstance(length, int) and length > 0 else (1 if axis == 0 else open_length)
        for axis, length in enumerate(port.shape or ())
    ]
    if math.prod(shape) > MAX_BYTES // 8:
        raise CannotLook(f"the input {port.name} is too large to be drawn; bring samples")
    kind = np.dtype(port.dtype).kind
    if kind == "f":
        return rng.standard_normal(shape).astype(port.dtype)
    if kind == "b":
        return np.ones(shape, port.dtype)
    if kind in "iu":
        if "mask" in port.name.lower() or "type" in port.name.lower():
            return np.ones(shape, port.dtype)
        return rng.integers(0, 100, shape).astype(port.dtype)
    raise CannotLook(f"the input {port.name} is of a type that cannot be drawn; bring samples")


def _given(runtime: Runtime, path: Path) -> Iterator[dict[str, Array]]:
    """The owner's samples, one at a time."""
    names = [port.name for port in runtime.inputs]
    if path.is_dir():
        files = sorted(path.glob("*.npy"))
        if not files:
            raise MissingData(f"{path} holds no .npy files")
        if len(names) != 1:
            raise UsageError(f"the network has {len(names)} inputs; bring an .npz file with an array for each")
        for file in files[:MAX_SAMPLES]:
            sample = _loaded(file)
            port = runtime.inputs[0]
            yield {port.name: _typed(port, sample if sample.ndim == len(port.shape or ()) else sample[None])}
        return
    arrays = _arrays(path)
    if len(names) == 1 and names[0] not in arrays:
        arrays = {names[0]: arrays.get("inputs", next(iter(arrays.values())))}
    missing = [name for name in names if name not in arrays]
    if missing:
        raise UsageError(f"{path} holds no array for the input {missing[0]!r}; it holds {', '.join(arrays)}")
    total = min(len(arrays[name]) for name in names)
    for start in range(min(total, MAX_SAMPLES)):
        yield {port.name: _typed(port, arrays[port.name][start : start + 1]) for port in runtime.inputs}


def _typed(port: Port, array: Array) -> Array:
    try:
        return array.astype(port.dtype, copy=False)
    except (TypeError, ValueError):
        raise UsageError(f"the input {port.name} is of {port.dtype} numbers, not {array.dtype}") from None


def _loaded(path: Path) -> Array:
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        raise MissingData(f"{path} is no file of samples, or larger than {MAX_BYTES >> 30} GiB")
    try:
        array: Array = np.load(path, allow_pickle=False)
        return array
    except Exception as error:  # numpy raises whatever the bytes lead to
        raise UnreadableData(f"{path} holds no array: {error}") from None


def _arrays(path: Path) -> Mapping[str, Array]:
    loaded: Any = _loaded(path)
    if isinstance(loaded, np.ndarray):
        return {"inputs": loaded}
    try:
        out = {name: loaded[name] for name in loaded.files}
    except Exception as error:  # as above
        raise UnreadableData(f"{path} holds no arrays: {error}") from None
    if not out or any(array.ndim < 1 for array in out.values()):
        raise UnreadableData(f"{path} holds no samples")
    return out
