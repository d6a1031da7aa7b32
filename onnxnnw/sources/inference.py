"""A network behind an inference server: one question, one answer [Open Inference Protocol v2 over HTTP].

Triton, KServe and MLServer speak it. A question that has to be asked again is still one question.
"""

import json
import os
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxnnw.errors import CannotLook, UsageError
from onnxnnw.sources.addresses import Address, address_of
from onnxnnw.sources.answers import Refused
from onnxnnw.sources.connections import Broken, Connections, kind_of, whole_of

__all__ = ["Endpoint", "Questions", "Unanswered"]

_TRIES, _LONGEST_PAUSE = 4, 10.0
_TIRED = frozenset((408, 425, 429, 500, 502, 503, 504))
_MAX_NUMBERS = 2**24
_FLOATS = {"FP32": "<f4", "FP64": "<f8", "FP16": "<f2"}
_WHOLE = frozenset(("INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"))


class Unanswered(Exception):
    """One question was not answered; others may be."""


@dataclass(frozen=True)
class Questions:
    """How an endpoint is asked.

    Attributes:
        most: Requests that may be sent, decoys and retries among them.
        per_second: Requests a second at most.
        input_name: Of the input; empty asks the server.
        layout: ``NCHW`` or ``NHWC``; empty asks the server, and is NCHW where it does not say.
        output_name: Of the output; empty takes the only one, or the first that fits.

    Raises:
        UsageError: Impossible numbers, or another layout.
    """

    most: int = 1000
    per_second: float = 10.0
    input_name: str = ""
    layout: str = ""
    output_name: str = ""

    def __post_init__(self) -> None:
        if self.most < 1 or not 0 < self.per_second <= 1e6:
            raise UsageError("an endpoint is asked at least once, and at a rate above 0 a second")
        if self.layout not in ("", "NCHW", "NHWC"):
            raise UsageError(f"a layout is NCHW or NHWC, not {self.layout[:20]!r}")


class Endpoint:
    """A network that only answers; a context manager.

    Attributes:
        address: Where it is, as it may be shown.
        sent: Requests so far.
    """

    def __init__(self, url: str, questions: Questions) -> None:
        """Nothing is sent yet.

        Raises:
            UsageError: No web address.
        """
        if not re.match(r"https?://", url, re.IGNORECASE):
            raise UsageError("an endpoint is asked over https:// or http://")
        self.address, self.questions, self.sent = address_of(url), questions, 0
        self._connections = Connections(1)
        self._next = 0.0
        found = re.fullmatch(r"(.*/v2/models/[^/?]+(?:/versions/[^/?]+)?)(/infer)?/?", self.address.url)
        self._model = found[1] if found else ""
        self._place = replace(self.address, url=f"{self._model}/infer") if found else self.address
        self._described = not self._model

    def __enter__(self) -> "Endpoint":
        return self

    def __exit__(self, *exception: object) -> None:
        self._connections.close()

    def ask(self, image: NDArray[np.float32]) -> dict[str, NDArray[Any]]:
        """What the network answers to one input: its outputs by name, the first axis of length one.

        Args:
            image: (3, H, W), as the network reads it.

        Raises:
            Unanswered: No answer to this question, however often it was asked.
            CannotLook: No question may be sent any more, or the server will answer none.
        """
        if not self._described:
            self._describe()
        layout = self.questions.layout or "NCHW"
        array = image if layout == "NCHW" else image.transpose(1, 2, 0)
        data = [float(f"{number:.9g}") for number in array.reshape(-1).tolist()]
        question = {
            "name": self.questions.input_name or "input",
            "shape": [1, *array.shape],
            "datatype": "FP32",
            "data": data,
        }
        answer: dict[str, NDArray[Any]] = self._exchange(
            self._place, json.dumps({"inputs": [question]}).encode(), _outputs
        )
        return answer

    def _describe(self) -> None:
        """Ask what the input is called and how it lies, where that was not given."""
        self._described = True
        if self.questions.input_name and self.questions.layout:
            return
        try:
            name, layout = self._exchange(replace(self.address, url=self._model), None, _described)
        except Unanswered:
            return  # a server need not say: then the usual name is tried
        given = self.questions
        self.questions = replace(given, input_name=given.input_name or name, layout=given.layout or layout)

    def _exchange(self, address: Address, body: bytes | None, read: Callable[[Any], Any]) -> Any:
        problem = ""
        for attempt in range(_TRIES):
            if attempt:
                time.sleep(min(0.25 * 4**attempt, _LONGEST_PAUSE) * (0.5 + random.random()))
            self._wait()
            try:
                response = self._connections.get(address.url, self._headers(address, body), body)
                content, status = whole_of(response), response.status
            except (Broken, OSError) as error:
                problem = kind_of(error)
                continue
            except Refused as error:
                raise Unanswered(str(error)) from None
            if status in (401, 403):
                raise Refused(f"{self.address}: the server does not allow it ({status}): set ONNXNNW_ENDPOINT_TOKEN")
            if status == 404:
                raise Refused(f"{self.address}: no such model on the server (404)")
            if status != 200:
                problem = f"the server answered with status {status}"
                if status in _TIRED:
                    continue
                break
            try:
                return read(json.loads(content))
            except (ValueError, KeyError, TypeError, IndexError, RecursionError, OverflowError):
                problem = "the answer is none of the Open Inference Protocol v2"
                break
        raise Unanswered(f"{self.address}: {problem}")

    def _wait(self) -> None:
        """Keep to the rate, and count."""
        if self.sent >= self.questions.most:
            raise CannotLook(
                f"{self.address}: the {self.questions.most:,} requests that are allowed were sent (--queries)"
            )
        time.sleep(max(0.0, self._next - time.monotonic()))
        self._next = max(self._next, time.monotonic()) + 1 / self.questions.per_second
        self.sent += 1

    def _headers(self, address: Address, body: bytes | None) -> dict[str, str]:
        token = os.environ.get("ONNXNNW_ENDPOINT_TOKEN", "").strip()
        own = {"Authorization": f"Bearer {token}"} if token.isascii() and token else {}
        kind = {"Content-Type": "application/json"} if body is not None else {}
        return {"Accept": "application/json", "Accept-Encoding": "identity"} | kind | own | address.headers(address.url)

    def chosen(self, outputs: dict[str, NDArray[Any]], fits: Callable[[NDArray[Any]], bool]) -> NDArray[Any] | None:
        """The output that is meant; None where the answer has none that fits."""
        name = self.questions.output_name
        wanted = [outputs[name]] if name in outputs else [] if name else list(outputs.values())
        return next((each for each in wanted if fits(each)), None)


def _described(document: Any) -> tuple[str, str]:
    """Name and layout of the first input of a model's description."""
    first = document["inputs"][0]
    shape = [int(n) for n in first["shape"]]
    layout = "NHWC" if len(shape) == 4 and shape[3] == 3 and shape[1] != 3 else "NCHW"
    if not isinstance(first["name"], str):
        raise TypeError
    return first["name"], layout


def _outputs(document: Any) -> dict[str, NDArray[Any]]:
    """Outputs of an answer, by name, in the shape that it says."""
    out = {}
    for each in document["outputs"]:
        shape = [int(n) for n in each["shape"]]
        kind = each["datatype"]
        if kind not in _FLOATS and kind not in _WHOLE:
            continue
        values = np.array(each["data"], _FLOATS.get(kind, "<f8")).reshape(-1)
        if values.size > _MAX_NUMBERS or min(shape, default=1) < 0:
            raise ValueError
        out[str(each["name"])] = values.reshape(shape).astype(np.int64 if kind in _WHOLE else np.float64)
    return out
