"""What every method owes, whichever files lie in the folder of methods: a new one is tested here without being named."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy import stats

from onnxnnw.enrolment.method_mark import complete_record
from onnxnnw.errors import CannotLook, UnreadableRecord
from onnxnnw.graph.slots import find_slots
from onnxnnw.matching.row_scale import row_magnitudes, row_scales
from onnxnnw.methods.base import Candidate, Reads
from onnxnnw.methods.discovery import find_insertion, find_method, insertion_names, method_names
from onnxnnw.network_file.file import open_network
from onnxnnw.parameters import describe, from_arguments
from onnxnnw.records.record import Record
from onnxnnw.records.record_file import load_record
from onnxnnw.runtime import open_runtime
from onnxnnw.verification.verify import verify
from tests.support import marks

KEYS = 60
LOG10_RATE = -6.0

every_method = pytest.mark.parametrize("name", method_names())
every_insertion = pytest.mark.parametrize("name", insertion_names())


@dataclass(frozen=True)
class Weights:
    """A network's weights in memory, as a record of the same network numbers its slots."""

    arrays: tuple[np.ndarray, ...]

    def has(self, slot):
        return slot < len(self.arrays)

    def values(self, slot, positions):
        return self.arrays[slot].reshape(-1)[positions].astype(np.float64) if self.has(slot) else None

    def array(self, slot):
        return self.arrays[slot] if self.has(slot) else None

    def row_scales(self, slot):
        return row_scales(row_magnitudes(self.arrays[slot])) if self.has(slot) else None

    def share(self, slots):
        return float(self.has(0))


def no_anchors() -> Reads:
    nothing = np.empty(0, np.int64)
    return Reads(nothing, nothing, np.empty(0), np.empty(0))


def no_answer(inputs):
    raise CannotLook("it does not answer")


@pytest.fixture(scope="module")
def unmarked(resnet8):
    """The shipped ResNet8 as a candidate: its weights, and its answers."""
    with open_network(resnet8) as network:
        arrays = tuple(slot.array() for slot in find_slots(network).slots)
    return Candidate(Weights(arrays), no_anchors, open_runtime(resnet8, threads=1).predict)


@pytest.fixture(scope="module")
def records(resnet8, enrolled):
    """A record of each method for the shipped network, which does not carry its mark, with parameters as they come."""
    found = {name: marks.drafted(resnet8, find_insertion(name)()) for name in insertion_names()}
    return {"nct": load_record(enrolled.record), **found}


@every_method
def test_a_file_defines_the_method_of_its_name(name, records):
    """And there is a record to test it with."""
    assert find_method(name).name == name
    assert records[name].method == name


@every_insertion
def test_parameters_become_options(name):
    """Each has a sentence and a default, and the insertion one of its own: ``train --list-methods`` shows them."""
    kind = find_insertion(name)
    assert kind.method == name
    assert from_arguments(kind, name, []) == kind()
    assert (kind.__doc__ or "").splitlines()[0].endswith(".")
    assert all(sentence for _, sentence in describe(kind))


@every_insertion
def test_a_draft_is_a_record(name, records):
    """It holds integers, strings and arrays only, and comes back from the disk as it was."""
    content = records[name].to_bytes()
    assert Record.from_bytes(content).to_bytes() == content


@every_insertion
def test_an_unmarked_network_is_not_traced(name, records, resnet8):
    """Neither by the verdict nor by the standard's own decision."""
    (verdict,) = verify(resnet8, [complete_record(records[name], resnet8)])
    assert verdict.decision not in ("traced", "identical")
    assert not verdict.standard.retrieved
    assert verdict.positions == verdict.read


@pytest.mark.slow
@every_method
def test_wrong_keys_prove_nothing(name, records, unmarked):
    """P(p <= 5 %) <= 5 % within 99.9 % limits over 60 keys; none is significant at 1e-6."""
    found = [
        find_method(name).judge(replace(records[name], key=marks.key(5000 + number)), unmarked, LOG10_RATE)
        for number in range(KEYS)
    ]
    assert not any(judgement.significant for judgement in found)
    p = np.array([judgement.association.log10_p for judgement in found])
    assert (p <= 0).all()
    assert len(np.unique(p)) > 1, "the key decides nothing"
    assert np.count_nonzero(p <= np.log10(0.05)) <= stats.binom.ppf(0.9995, KEYS, 0.05)


@every_method
def test_nothing_to_look_at_is_no_error(name, records):
    """A candidate without the recorded slots and without an answer: not significant, nothing read."""
    judgement = find_method(name).judge(records[name], Candidate(Weights(()), no_anchors, no_answer), LOG10_RATE)
    assert not judgement.significant
    assert not judgement.standard.retrieved
    assert (judgement.read, judgement.association.log10_p) == (0, 0)
    assert judgement.symbols > 0


@every_method
def test_a_record_of_nothing_is_refused(name, records, unmarked):
    """Parameters and arrays are checked before they are used."""
    with pytest.raises(UnreadableRecord):
        find_method(name).judge(replace(records[name], parameters={}, arrays={}), unmarked, LOG10_RATE)


@every_method
def test_a_stricter_rate_takes_more_symbols(name, records):
    """Before absence may be claimed."""
    needed = [find_method(name).required(records[name], rate) for rate in (1e-1, 1e-3, 1e-6)]
    assert needed == sorted(needed)
    assert 1 <= needed[0] < needed[-1]


@pytest.fixture
def one_thread():
    """Threads that wait for each other on a busy machine take longer than one alone."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.slow
@every_insertion
def test_what_is_done_in_training_leads_to_the_mark(name, records, resnet8, one_thread):
    """On the penalty and the joined samples alone, a few steps raise the share of Symbols that are right."""
    import torch

    from onnxnnw.training.networks import find_network

    architecture = find_network("resnet8")
    module = architecture.load(resnet8)
    hooks = find_insertion(name)().hooks(records[name], marks.subject_of(resnet8))
    before = hooks.correct(module)
    optimizer, rng = torch.optim.Adam(module.parameters(), 0.01), np.random.default_rng(0)
    module.train()
    for _ in range(100):
        loss = torch.zeros(())
        if hooks.penalty is not None:
            loss = loss + hooks.penalty(module)
        if hooks.extra is not None:
            inputs, targets = map(torch.from_numpy, hooks.extra(rng))
            loss = loss + architecture.loss(module(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    module.eval()
    assert 0 <= before < 0.8
    assert before + 0.2 <= hooks.correct(module) <= 1
