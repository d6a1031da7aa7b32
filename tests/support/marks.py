"""RTW and TBW marks without training: the layer or the answers are made to carry what the record says."""

from pathlib import Path

import numpy as np
from scipy import stats

from onnxnnw.enrolment.method_mark import complete_record
from onnxnnw.enrolment.owner import Owner
from onnxnnw.graph.slots import find_slots
from onnxnnw.methods.base import Candidate, Insertion, Reads, Subject
from onnxnnw.methods.rtw import mark_of, project
from onnxnnw.network_file.file import open_network
from onnxnnw.network_file.patch import Edit, write_patched
from onnxnnw.records.key import Key
from onnxnnw.records.record import Record
from onnxnnw.training.insertion import draft_record

MEAN, DEVIATION = (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)


def drafted(model: Path, insertion: Insertion, secret: int = 7, classes: int | None = 10) -> Record:
    """The bound part of a record for an ONNX file that reads 32×32 images."""
    with open_network(model) as network:
        subject = Subject(find_slots(network), (3, 32, 32), (), classes, MEAN, DEVIATION)
        record, _ = draft_record(network, subject, insertion, Owner("tester"), key(secret))
    return record


def subject_of(model: Path, classes: int | None = 10) -> Subject:
    """The network as methods see it; the view can no longer be read from."""
    with open_network(model) as network:
        return Subject(find_slots(network), (3, 32, 32), (), classes, MEAN, DEVIATION)


def key(number: int) -> Key:
    """A key from a number."""
    return Key(number.to_bytes(32, "little"))


def marked_with_rtw(model: Path, out: Path, record: Record, margin: float = 1.0) -> Record:
    """Write the smallest change of the layer that makes every projection ``margin`` on its side; the finished record."""
    mark = mark_of(record)
    with open_network(model, for_writing=True) as network:
        slot = find_slots(network).by_name()[record.slots[mark.slot].name]
        rows = slot.array().astype(np.float64)
        free = np.ones(rows.shape, bool)
        free.reshape(-1)[mark.anchors] = False
        missing = margin * (2.0 * mark.wanted - 1) - project(rows, mark)
        change = mark.matrix @ np.linalg.solve(mark.matrix.T @ mark.matrix, missing)
        rows += change * free * (len(rows) / np.maximum(free.sum(0), 1))
        places = np.arange(slot.size)
        write_patched(network, out, [Edit(*slot.edits(places, rows.reshape(-1)))])
    return complete_record(record, out)


def asked(predict) -> Candidate:
    """A candidate that only answers."""
    nothing = np.empty(0, np.int64)
    return Candidate(None, lambda: Reads(nothing, nothing, np.empty(0), np.empty(0)), predict)  # type: ignore[arg-type]


def chi_square(matches, trials: int, probability: float) -> float:
    """How well counts of matches fit the Binomial, over cells of at least 5 expected: a p-value."""
    expected = stats.binom.pmf(np.arange(trials + 1), trials, probability) * len(matches)
    counts = np.bincount(matches, minlength=trials + 1)
    cells: list[list[float]] = [[0.0, 0.0]]
    for wanted, found in zip(expected, counts, strict=True):
        if cells[-1][0] >= 5:
            cells.append([0.0, 0.0])
        cells[-1][0] += wanted
        cells[-1][1] += found
    if cells[-1][0] < 5:
        last = cells.pop()
        cells[-1] = [cells[-1][0] + last[0], cells[-1][1] + last[1]]
    wanted, found = np.array(cells).T
    return float(stats.chisquare(found, wanted * found.sum() / wanted.sum()).pvalue)


def assert_binomial(matches, trials: int, probability: float) -> None:
    """Matches fit the Binomial, and P(p <= a) <= a within 99.9 % limits."""
    assert chi_square(matches, trials, probability) > 1e-4
    tails = stats.binom.sf(matches - 1, trials, probability)
    for level in (0.05, 0.01, 0.001):
        assert np.count_nonzero(tails <= level) <= stats.binom.ppf(0.9995, len(matches), level)
