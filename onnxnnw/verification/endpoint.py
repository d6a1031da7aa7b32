"""Record and endpoint -> verdict: a server is asked triggers among decoys until the test decides [NNW-TEC 7.4]."""

import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from onnxnnw.errors import CannotLook, UnreadableRecord
from onnxnnw.methods.base import NO_READS, Judgement, Standard
from onnxnnw.methods.triggers import Triggers
from onnxnnw.sources.inference import Endpoint, Unanswered
from onnxnnw.standard.grids import TRIGGERS_RETRIEVED_ABOVE
from onnxnnw.statistics import Association, SequentialTest, refuse_impossible_rate
from onnxnnw.verification.answer_text import Decision
from onnxnnw.verification.evidence import evidence_of, verdict_against
from onnxnnw.verification.explained import Explained
from onnxnnw.verification.findings.base import Finding
from onnxnnw.verification.named_records import NamedRecord
from onnxnnw.verification.verdict import SearchResult, Verdict
from onnxnnw.verification.visible import visible

__all__ = ["ask"]

_MOST_UNANSWERED = 20
"""So many questions in a row without an answer, and no more are sent."""


@dataclass
class _Tally:
    """The result of the questions."""

    test: SequentialTest
    unanswered: int = 0
    stopped: str = ""


def ask(endpoint: Endpoint, named: NamedRecord, rate: float, decoys: float = 1.0) -> SearchResult:
    """Verify a network behind an endpoint with a TBW record.

    Args:
        endpoint: Where it is, and how often it may be asked.
        named: The record.
        rate: The false-positive rate of the decision.
        decoys: Decoys for each trigger.

    Raises:
        UnreadableRecord: Another method's record, or one that asks for images or for labels chosen by hand.
        CannotLook: The server answers nothing at all.
    """
    refuse_impossible_rate(rate)
    record = named.record
    if record.method != "tbw":
        raise UnreadableRecord(
            f"{visible(named.name)}: a record of {visible(record.method)}; an endpoint is asked with TBW's"
        )
    triggers = Triggers(record)
    if triggers.coloured or triggers.chosen_by_hand:
        reason = "asks for images" if triggers.coloured else "has labels chosen by hand, which have no probability"
        raise UnreadableRecord(f"{visible(named.name)}: {reason}; only secret labels can be asked of an endpoint")
    asked = _Tally(SequentialTest(1 / triggers.classes, float(np.log10(rate))))
    _put(endpoint, triggers, decoys, asked)
    if not asked.test.asked:
        raise CannotLook(asked.stopped or f"{endpoint.address}: no question was answered")
    verdict = _verdict(named, triggers, asked, rate, endpoint)
    return SearchResult((verdict,), (), 0.0)


def _put(endpoint: Endpoint, triggers: Triggers, decoys: float, asked: _Tally) -> None:
    """Send triggers and decoys in random order, until the test decides or no more requests are allowed."""
    silent = 0
    for image, label in _questions(triggers, decoys):
        try:
            answer = _answer(endpoint, image, triggers.classes)
        except Unanswered as error:
            asked.unanswered, asked.stopped, silent = asked.unanswered + (label is not None), str(error), silent + 1
            if silent >= _MOST_UNANSWERED:
                return
            continue
        except CannotLook as error:
            asked.stopped = str(error)
            if not asked.test.asked:
                raise
            return
        silent = 0
        if label is None:
            continue
        asked.test.add(answer == label)
        if asked.test.found or asked.test.absent:
            return


def _questions(triggers: Triggers, decoys: float) -> Iterator[tuple[NDArray[np.float32], int | None]]:
    """Inputs in random order, with the secret answer; None for a decoy."""
    inputs, others = triggers.inputs(), triggers.decoys()
    labels: list[int] = triggers.labels.tolist()
    count = min(round(decoys * triggers.count), triggers.count)
    order: list[tuple[int, int | None]] = [*enumerate(labels), *((n, None) for n in range(count))]
    secrets.SystemRandom().shuffle(order)
    for number, label in order:
        yield (others if label is None else inputs)[number], label


def _answer(endpoint: Endpoint, image: NDArray[np.float32], classes: int) -> int:
    """The class of an answer: the number itself, or where the scores are largest; -1 for an answer that is no class.

    Raises:
        Unanswered: There is none.
    """

    def fits(output: NDArray[np.generic]) -> bool:
        return output.size == 1 or (output.size == classes and output.dtype.kind == "f")

    output = endpoint.chosen(endpoint.ask(image), fits)
    if output is None:
        raise Unanswered(
            f"{endpoint.address}: no output is a class or has {classes:,} scores; name it with --output-name"
        )
    flat = output.reshape(-1)
    if flat.size == 1:
        number = float(flat[0])
        return int(number) if number.is_integer() and 0 <= number < classes else -1
    return int(flat.argmax()) if np.isfinite(flat).all() else -1


def _verdict(named: NamedRecord, triggers: Triggers, asked: _Tally, rate: float, endpoint: Endpoint) -> Verdict:
    test = asked.test
    decision: Decision = "traced" if test.found else "not traced" if test.absent else "inconclusive"
    percent = 100 * test.right / test.asked
    retrieved = percent > TRIGGERS_RETRIEVED_ABOVE
    words = (
        f"{'retrieved' if retrieved else 'not retrieved'}: {percent:.0f} % of {test.asked} triggers answered as trained"
    )
    judgement = Judgement(
        Association(test.log10_p, test.effect, test.asked),
        test.found,
        Standard(retrieved, {"percent": percent}, words),
        NO_READS,
        "triggers",
        triggers.count,
        test.asked,
        0,
    )
    nothing = Explained(0.0, 0.0, 0, 0, 0, 0)
    numbers = {"requests": endpoint.sent, "triggers": test.asked, "right": test.right, "unanswered": asked.unanswered}
    answers = f"{test.right} of {test.asked} answers are right, in {endpoint.sent} requests"
    said = f"an endpoint was asked, no file was looked at: {answers}"
    findings = [Finding("endpoint", said, numbers)]
    if asked.stopped and not (test.found or test.absent):
        findings.append(Finding("stopped", f"stopped early: {asked.stopped}", {"unanswered": asked.unanswered}))
    return verdict_against(
        named,
        decision,
        judgement,
        log10_p=test.log10_p,
        rate=rate,
        seen=(test.asked, 0),
        explained=nothing,
        evidence=evidence_of(named, decision, test.log10_p, rate, True, nothing),
        findings=findings,
        path="endpoint",
    )
