"""Forging: a record edited after seeing a suspect gains nothing, because mark values follow from every bound field."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from onnxnnw.errors import CannotLook
from onnxnnw.methods import nct
from onnxnnw.records import positions as placement
from onnxnnw.records.record import Record
from onnxnnw.statistics import associate_watermark
from onnxnnw.verification.verify import verify
from tests.support import calibration_networks as networks
from tests.support import null_draws as measure

ATTEMPTS = 150


@pytest.fixture(scope="module")
def original() -> networks.Weights:
    """The network that was marked."""
    return networks.trained_weights()


@pytest.fixture(scope="module")
def record(original: networks.Weights, tmp_path_factory: pytest.TempPathFactory) -> Record:
    """Its watermark."""
    path = networks.save(original, tmp_path_factory.mktemp("forging") / "network.onnx")
    return networks.enrolled(path, watermark=True)


@pytest.fixture(scope="module")
def suspect(record: Record) -> networks.InMemory:
    """Somebody else's network of the same architecture, which the forger has seen."""
    return networks.in_memory(networks.trained_weights(seed=99), record)


def values_of(record: Record) -> tuple[placement.PositionPlan, np.ndarray[Any, np.dtype[np.float64]]]:
    """Positions and mark values (in units of deviation) that the record stands for at this moment."""
    plan = placement.plan_of(record)
    return plan, record.key.stream("nct/values", record.values_context).normals(plan.positions.size)


def reads(record: Record, suspect: networks.InMemory) -> np.ndarray[Any, np.dtype[np.float64]]:
    """What the suspect holds at the record's positions."""
    plan = placement.plan_of(record)
    return np.array([suspect.arrays[s].reshape(-1)[p] for s, p in zip(plan.slots, plan.positions, strict=True)], float)


def fitted_row_scales(record: Record, suspect: networks.InMemory, rng: np.random.Generator) -> Record:
    """Gauge factors that turn what the suspect holds into what the mark would be."""
    z = values_of(record)[1]
    fitted = z / reads(record, suspect) * (1 + 0.01 * rng.random(z.size))
    return replace(record, arrays={**record.arrays, "row_gains": fitted.astype("<f8")})


def skipped_draws(record: Record, suspect: networks.InMemory, rng: np.random.Generator) -> Record:
    """Only draws at which the suspect happens to agree with the mark."""
    count = record.number_of_positions
    wide = replace(record, parameters={**record.parameters, "positions": 2 * count})
    agrees = np.sign(reads(wide, suspect)) == np.sign(values_of(record)[1].repeat(2))
    bad = np.flatnonzero(~agrees | (rng.random(2 * count) < 0.02))[: count // 2]
    return replace(record, arrays={**record.arrays, "skipped": bad.astype("<i8")})


def slot_table(record: Record, suspect: networks.InMemory, rng: np.random.Generator) -> Record:
    """Slots declared ineligible, renamed or with dead rows, whatever promises a better fit."""
    slots = list(record.slots)
    for number in rng.choice(len(slots), 3, replace=False).tolist():
        entry = slots[number]
        dead = tuple(sorted(rng.choice(entry.live_rows, 2, replace=False).tolist()))
        slots[number] = replace(entry, dead_rows=dead, eligible=bool(rng.random() < 0.7) or number == len(slots) - 2)
    return replace(record, slots=tuple(slots))


def slot_order(record: Record, suspect: networks.InMemory, rng: np.random.Generator) -> Record:
    """Slots of one shape exchanged."""
    slots = list(record.slots)
    slots[1], slots[2] = slots[2], replace(slots[1], bias=str(rng.random()))
    return replace(record, slots=tuple(slots))


def anchors(record: Record, suspect: networks.InMemory, rng: np.random.Generator) -> Record:
    """Anchor values in an order that would choose a convenient permutation of the suspect's slots."""
    values = rng.permutation(record.arrays["anchors"])
    return replace(record, arrays={**record.arrays, "anchors": values})


def deviations(record: Record, suspect: networks.InMemory, rng: np.random.Generator) -> Record:
    """Deviations of the slots that fit the suspect."""
    values = np.array([array.std() for array in suspect.arrays]) * (1 + rng.random(len(suspect.arrays)))
    return replace(record, arrays={**record.arrays, "deviations": values.astype("<f8")})


def declared_values(record: Record, suspect: networks.InMemory, rng: np.random.Generator) -> Record:
    """Mark values simply declared to be what the suspect holds, under every name that might be believed."""
    values = (reads(record, suspect) * (1 + 1e-9 * rng.random())).astype("<f8")
    return replace(record, arrays={**record.arrays, "values": values, "controls": values * 0, "z": values})


def owner(record: Record, suspect: networks.InMemory, rng: np.random.Generator) -> Record:
    """Another name on the record."""
    return replace(record, actor=f"Mallory {rng.random()}", role="Tracker", source_id=str(rng.random()))


def strength(record: Record, suspect: networks.InMemory, rng: np.random.Generator) -> Record:
    """Another strength."""
    return replace(record, parameters={**record.parameters, "strength": repr(1 + rng.random())})


def another_key(record: Record, suspect: networks.InMemory, rng: np.random.Generator) -> Record:
    """Another secret: the search by brute force."""
    return replace(record, key=networks.key(int(rng.integers(2**62))))


Forgery = Callable[[Record, networks.InMemory, np.random.Generator], Record]
FORGERIES: tuple[Forgery, ...] = (
    fitted_row_scales, skipped_draws, slot_table, slot_order, anchors, deviations, declared_values, owner, strength,
    another_key,
)  # fmt: skip


@pytest.mark.parametrize("forge", FORGERIES, ids=lambda forge: forge.__name__)
def test_editing_a_record_after_seeing_the_suspect_gains_nothing(
    forge: Forgery, record: Record, suspect: networks.InMemory
) -> None:
    """However a record is edited to fit a suspect, its p-value is uniform: every attempt is one throw of the dice."""
    rng = np.random.default_rng(1)
    log10_p = []
    forged = record
    for attempt in range(ATTEMPTS):
        # a forger goes on from the previous attempt, or starts afresh
        forged = forge(forged if attempt % 2 and forge is not slot_order else record, suspect, rng)
        log10_p.append([view.log10_p for view in nct.views(forged, suspect)])
    table = np.array(log10_p)
    for view in table.T:
        for level in measure.LEVELS:
            assert measure.share(view, level) <= measure.limits(view.size, level)[1]
        assert measure.ks_p(view) > 1e-4


def test_the_forgeries_would_succeed_if_mark_values_did_not_follow_from_the_record(
    record: Record, suspect: networks.InMemory
) -> None:
    """Judged on the mark values of before the edit, fitted row scales and chosen draws are overwhelming evidence."""
    rng = np.random.default_rng(2)
    plan, z = values_of(record)
    fitted = fitted_row_scales(record, suspect, rng).arrays["row_gains"]
    assert associate_watermark(reads(record, suspect) * fitted, z, plan.slots).log10_p < -50
    chosen = skipped_draws(record, suspect, rng)
    plan, old = placement.plan_of(chosen), values_of(record)[1]
    kept = np.delete(old.repeat(2), chosen.arrays["skipped"])[: old.size]
    assert associate_watermark(reads(chosen, suspect), kept, plan.slots).log10_p < -6


def bound_changes(record: Record) -> dict[str, Record]:
    """The record with one bound field changed as little as possible, for every field and array."""
    first = record.slots[0]
    out = {name: replace(record, **{name: "x"}) for name in ("actor", "role", "source_id", "destination_id")}
    out["enrolled_digest"] = replace(record, enrolled_digest="0" * 64)
    for change in (
        {"name": "other"}, {"use": "Conv.0"}, {"bias": "b"}, {"layout": "gemm"}, {"data_type": "double"},
        {"dead_rows": (3,)}, {"eligible": False}, {"shape": (16, 27)},
    ):  # fmt: skip
        entry = replace(first, **change)  # type: ignore[arg-type]
        out[f"slot {next(iter(change))}"] = replace(record, slots=(entry, *record.slots[1:]))
    for name, value in {"strength": "1.0000000000000002", "anchors": 31, "note": "x"}.items():
        out[f"parameter {name}"] = replace(record, parameters={**record.parameters, name: value})
    for name, array in record.arrays.items():
        flipped = np.frombuffer(bytes([array.tobytes()[0] ^ 1]) + array.tobytes()[1:], array.dtype)
        out[f"array {name}"] = replace(record, arrays={**record.arrays, name: flipped})
    fewer = {**record.arrays, "row_gains": record.arrays["row_gains"][:511]}
    out["positions"] = replace(record, parameters={**record.parameters, "positions": 511}, arrays=fewer)
    out["array of another name"] = replace(record, arrays={**record.arrays, "extra": np.zeros(1)})
    return out


def test_a_record_with_any_bound_field_changed_loses_its_own_mark(original: networks.Weights, record: Record) -> None:
    """One bit of one bound field, and the marked network is not recognised; derived and unbound fields do not count."""
    marked = networks.in_memory(networks.apply_mark(original, record), record)
    assert min(view.log10_p for view in nct.views(record, marked)) < -70
    unbound = replace(record, derived={"digest": "1" * 64}, unbound={"note": "read later"})
    assert nct.views(unbound, marked) == nct.views(record, marked)
    for name, changed in bound_changes(record).items():
        assert min(view.log10_p for view in nct.views(changed, marked)) > -5, name
        assert changed.values_context != record.values_context, name


def test_every_field_of_the_bound_part_of_the_file_binds(original: networks.Weights, record: Record) -> None:
    """On disk too: any value changed anywhere under ``bound`` gives other mark values, or no readable record."""
    document = json.loads(record.to_bytes())

    def leaves(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
        if isinstance(node, dict):
            return [leaf for key in node for leaf in leaves(node[key], (*path, key))]
        if isinstance(node, list):
            return [leaf for i, part in enumerate(node) for leaf in leaves(part, (*path, i))]
        return [path]

    paths = leaves(document["bound"])
    assert len(paths) > 100
    for path in paths:
        copy = json.loads(record.to_bytes())
        parent = copy["bound"]
        for step in path[:-1]:
            parent = parent[step]
        old = parent[path[-1]]
        parent[path[-1]] = old + 1 if isinstance(old, int) else ("B" + old[1:] if old[:1] == "A" else "A" + old[1:])
        try:
            changed = Record.from_bytes(json.dumps(copy, sort_keys=True, separators=(",", ":")).encode() + b"\n")
        except CannotLook:
            continue
        assert changed.values_context != record.values_context, path


@pytest.mark.slow
def test_searching_keys_gains_exactly_what_the_evidence_says(record: Record, suspect: networks.InMemory) -> None:
    """The best p of 40 keys is distributed as the least of 40 uniform numbers: n trials buy 1/n, no more."""
    rng = np.random.default_rng(5)
    p = [10 ** nct.views(another_key(record, suspect, rng), suspect)[0].log10_p for _ in range(2_000)]
    best = np.array(p).reshape(50, 40).min(axis=1)
    assert stats.kstest(1 - (1 - best) ** 40, "uniform").pvalue > 1e-4


def test_the_evidence_states_the_trials_that_a_forger_would_need(
    original: networks.Weights, record: Record, tmp_path: Path
) -> None:
    """after_the_fact_trials_log10 is -log10 p of a watermark, and none for a fingerprint."""
    path = networks.save(networks.apply_mark(original, record), tmp_path / "marked.onnx")
    (verdict,) = verify(path, [record])
    assert verdict.decision == "traced"
    assert verdict.evidence.after_the_fact_trials_log10 == -verdict.log10_p
    assert "could be forged" not in verdict.evidence.sentence
    (weak,) = verify(path, [networks.enrolled(path, watermark=False)])
    assert weak.evidence.after_the_fact_trials_log10 is None
    assert "which came first" in weak.evidence.sentence


def test_a_small_mark_is_said_to_be_forgeable(original: networks.Weights, tmp_path: Path) -> None:
    """Below 24 decimal digits of evidence the verdict says that somebody could have tried keys."""
    path = networks.save(original, tmp_path / "network.onnx")
    small = networks.enrolled(path, watermark=True, positions=80)
    (verdict,) = verify(networks.save(networks.apply_mark(original, small), tmp_path / "marked.onnx"), [small])
    assert verdict.decision == "traced"
    assert 6 < (verdict.evidence.after_the_fact_trials_log10 or 0) < 24
    assert "could be forged by trying keys" in verdict.evidence.sentence
