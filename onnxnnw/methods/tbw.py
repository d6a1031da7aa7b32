"""Trigger-Based Watermarking: secret images to which the network gives secret answers [NNW-TEC 7.4; Adi et al. 2018].

The TBW-Key is a set of trigger images with their labels. Training joins some of them to each batch; detection asks the
network, and nothing else: no weight is read. label = (Symbol + key-uniform) mod C, never conditioned on images or
answers, so that without the key each answer is right with probability 1/C, however skewed the network is.

Beyond the standard, networks that answer with images carry one binary Symbol per trigger: the answer is the enlarged
trigger with its colour shifted one way or the other along a secret direction.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from onnxnnw.errors import CannotLook, UnreadableRecord, UsageError
from onnxnnw.methods.base import (
    Candidate,
    Decoded,
    Hooks,
    Insertion,
    InsertionDraft,
    Judgement,
    Method,
    Standard,
    Subject,
)
from onnxnnw.methods.payload import decode_text, encode_text
from onnxnnw.methods.triggers import MAX_TRIGGERS, Triggers, own_images
from onnxnnw.parameters import between, parameter
from onnxnnw.records.record import Record
from onnxnnw.standard.grids import BOLD, TRIGGERS_RETRIEVED_ABOVE
from onnxnnw.statistics import Association, log10_binomial_tail, required_symbols

__all__ = ["TBW", "TbwInsertion"]

DEFAULT_TRIGGERS = 100  # [R: notes]
DEFAULT_PER_BATCH = int(BOLD["tbw"]["rho"])
DEFAULT_RATE = 1e-6

Array = NDArray[Any]


class TBW(Method):
    """Judges TBW watermarks by what the candidate answers."""

    name: ClassVar[str] = "tbw"
    reads_weights: ClassVar[bool] = False

    def judge(self, record: Record, candidate: Candidate, log10_rate: float) -> Judgement:
        if record.kind != "watermark":
            raise UnreadableRecord(f"TBW knows no {record.kind!r} records")
        triggers, reads = Triggers(record), candidate.anchors()
        try:
            found = triggers.answers(candidate.predict(triggers.inputs()))
        except (CannotLook, UsageError) as error:
            nothing = Standard(False, {"percent": 0.0}, "not retrieved: the candidate gave no answer")
            notes = (f"the triggers could not be put to the candidate: {error}",)
            return Judgement(
                Association(0.0, 0.0, 0), False, nothing, reads, "triggers", triggers.count, 0, 0, notes=notes
            )
        right = found == triggers.labels
        matches, count = int(right.sum()), triggers.count
        chance = 1 / triggers.classes
        effect = (matches / count - chance) / (1 - chance)
        percent = 100 * matches / count
        decision = "retrieved" if percent > TRIGGERS_RETRIEVED_ABOVE else "not retrieved"
        standard = Standard(
            percent > TRIGGERS_RETRIEVED_ABOVE,
            {"percent": percent},
            f"{decision}: {percent:.0f} % of the triggers answered as trained (above {TRIGGERS_RETRIEVED_ABOVE} % decides)",
        )
        if triggers.chosen_by_hand:
            notes = ("labels chosen by hand have no probability: only the standard's decision can be given",)
            unproven = Association(0.0, effect, count)
            return Judgement(unproven, False, standard, reads, "triggers", count, count, 0, notes=notes)
        log10_p = log10_binomial_tail(matches, count, chance)
        symbols = (found - triggers.uniform) % triggers.classes
        decoded = np.where(found >= 0, symbols == 1, 1 - triggers.payload).astype(np.uint8)
        payload = Decoded(decode_text(decoded), decode_text(triggers.payload), count - matches, count)
        association = Association(log10_p, effect, count)
        return Judgement(association, log10_p <= log10_rate, standard, reads, "triggers", count, count, 0, payload)

    def required(self, record: Record, false_positive_rate: float) -> int:
        triggers = Triggers(record)
        if triggers.chosen_by_hand:
            return triggers.count + 1  # never: absence would need a probability too
        return required_symbols(false_positive_rate, 1 / triggers.classes, _damaged(triggers.classes))


def _damaged(classes: int) -> float:
    """Share of right answers that a mark keeps wherever it is still worth speaking of: half of what is above chance."""
    return (1 + 1 / classes) / 2


def _least(classes: int) -> int:
    """How many triggers it takes to prove anything at the usual rate, all of them answered rightly."""
    return math.ceil(math.log(DEFAULT_RATE) / math.log(1 / classes) - 1e-9)


# --- in training ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TbwInsertion(Insertion):
    """Triggers joined to each batch while the network trains."""

    method: ClassVar[str] = TBW.name
    triggers: int = parameter("number of trigger images", DEFAULT_TRIGGERS)
    per_batch: int = parameter("rho: trigger images joined to each batch", DEFAULT_PER_BATCH)
    images: str = parameter(
        "folder of your own trigger images; in subfolders 0, 1, ... their labels are yours too; empty draws abstract ones",
        "",
    )
    payload: str = parameter("text that the mark carries, one bit per trigger", "")

    def __post_init__(self) -> None:
        between("the number of triggers", self.triggers, 1, MAX_TRIGGERS)
        between("the number of triggers per batch (rho)", self.per_batch, 1, MAX_TRIGGERS)

    def draft(self, subject: Subject) -> InsertionDraft:
        if len(subject.inputs) != 3 or subject.inputs[0] != 3:
            raise UsageError(f"triggers are colour images, but this network reads {subject.inputs}")
        height, width = subject.inputs[1:]
        classes = subject.classes or 2
        arrays: dict[str, Array] = {
            "mean": np.array(subject.mean, "<f4"),
            "deviation": np.array(subject.deviation, "<f4"),
        }
        count = self.triggers
        if self.images:
            images, labels = own_images(Path(self.images), count, (height, width), subject.classes)
            count = len(images)
            arrays["images"] = images.reshape(-1)
            if labels is not None:
                arrays["labels"] = labels.astype("<i8")
        least = _least(classes)
        if "labels" not in arrays and count < least:
            raise UsageError(
                f"{count} triggers with {classes} possible answers each can never prove anything at a false-positive "
                f"rate of {DEFAULT_RATE:g}: that takes {least}"
            )
        if self.per_batch > count:
            raise UsageError(f"{self.per_batch} triggers per batch (rho) are more than the {count} that there are")
        warnings = []
        needed = required_symbols(DEFAULT_RATE, 1 / classes, _damaged(classes))
        if "labels" in arrays:
            warnings.append("labels chosen by hand: verify will give the standard's decision only, and no p-value")
            if self.payload:
                raise UsageError("labels chosen by hand carry no payload")
        elif count < needed:
            warnings.append(
                f"{count} triggers can never prove absence at a false-positive rate of 1e-6: that takes {needed}"
            )
        parameters: dict[str, int | str] = {
            "triggers": count,
            "per_batch": self.per_batch,
            "classes": classes,
            "channels": 3,
            "height": height,
            "width": width,
            "answers": "colour" if subject.classes is None else "class",
        }
        arrays["payload"] = encode_text(self.payload, count)
        return InsertionDraft(parameters, arrays, tuple(warnings))

    def hooks(self, record: Record, subject: Subject) -> Hooks:
        triggers = Triggers(record)

        def extra(rng: np.random.Generator) -> tuple[Array, Array]:
            chosen = rng.choice(triggers.count, record.integer("per_batch"), replace=False)
            return triggers.inputs(chosen), triggers.targets(subject.targets, chosen)

        def correct(module: Any) -> float:
            outputs = _predictions(module)(triggers.inputs())
            return float(np.mean(triggers.answers(outputs) == triggers.labels))

        return Hooks(extra=extra, correct=correct)


def _predictions(module: Any) -> Callable[[Array], Array]:
    """A running module as it would answer after its export."""

    def predict(inputs: Array) -> Array:
        import torch

        device, training = next(module.parameters()).device, module.training
        module.eval()
        try:
            with torch.inference_mode():
                parts = [module(part.to(device)).float().cpu() for part in torch.from_numpy(inputs).split(50)]
        finally:
            module.train(training)
        answer: Array = torch.cat(parts).numpy()
        return answer

    return predict
