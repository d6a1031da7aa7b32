"""What a policy asks, in small: laws of each requirement, and every finding that there is."""

import ast
import datetime
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from onnxnnw.errors import UnknownName, UsageError
from onnxnnw.evidence.rules import NO, UNSURE
from onnxnnw.gate.allowances import ALWAYS, CONVERSIONS, FINDINGS, SETS, allowances_of, not_allowed
from onnxnnw.gate.requirements import AllOf, AnyRecord, ExplainedShare, Findings, Identical, NoneOf, NotExpired, Traced
from onnxnnw.verification.findings.base import Finding
from onnxnnw.verification.verdict import SearchResult

FOLDER = Path(__file__).parents[2] / "onnxnnw" / "verification" / "findings"


@dataclass(frozen=True)
class Told:
    """As much of a verdict as requirements ask for."""

    decision: str = "traced"
    record: str = "a.record"
    explained: float = 1.0
    findings: tuple[Finding, ...] = field(default=())


def codes(problems) -> list[str]:
    return [problem.rule.name for problem in problems]


def found(*verdicts: Told, unreadable: tuple[str, ...] = ()) -> SearchResult:
    return SearchResult(tuple(verdicts), unreadable, 0.1)  # type: ignore[arg-type]


def test_every_finding_of_the_package_is_known_to_policies():
    """By the names and ids that stand in its source; a new one is missed here before a policy misses it."""
    names: set[str] = set()
    for path in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Finding":
                if node.args and isinstance(node.args[0], ast.Constant):
                    names.add(node.args[0].value.replace(" ", "-"))
                own = [k.value for k in node.keywords if k.arg == "own_id"]
                names |= {n.value for each in own for n in ast.walk(each) if isinstance(n, ast.Constant)}
            if isinstance(node, ast.For) and isinstance(node.iter, ast.Tuple) and "Finding(name" in ast.unparse(node):
                names |= {row.elts[0].value.replace(" ", "-") for row in node.iter.elts}
    assert len(names) > 25
    assert {name for name in names if isinstance(name, str)} == FINDINGS


def test_what_nobody_names_is_not_allowed():
    """A finding of a later version, and all that this one has but those that say nothing happened."""
    new = Finding("eaten by a dog", "x")
    every = [Finding(name, "x") for name in sorted(FINDINGS)]
    refused = not_allowed([new, *every], (), (), ())
    assert {finding.id for finding in refused} == {"eaten-by-a-dog", *(FINDINGS - ALWAYS)}
    assert {"operators-differ", "local-functions", "decoys", "other-values", "added", "fine-tuned"} <= {
        f.id for f in refused
    }
    assert not_allowed([new, *every], allowances_of(["any"]), (), ()) == [new]
    with pytest.raises(UnknownName, match="renamed"):
        allowances_of(["renamd"])


@pytest.mark.parametrize(
    ("name", "kind", "allowed"), [("int8", "int8", True), ("int8", "float16", False), ("float16", "float16", True)]
)
def test_a_conversion_allows_its_own_type_only(name, kind, allowed):
    """And the values that it moved."""
    findings = [
        Finding("type changed", "x", {"to": kind}, {"w": {"to": kind}}),
        Finding("values changed", "x", {"relative_rms": 0.001}, {"w": {"relative_rms": 0.001}}),
    ]
    assert (not not_allowed(findings, SETS[name], [name], ())) == allowed


def test_values_that_no_conversion_explains_are_not_allowed():
    """Without a type that changed, beyond what it moves values by, or in a layer that it left alone."""
    how = SETS["int8"], ["int8"], ()
    converted = Finding("type changed", "x", {"to": "int8"}, {"w": {"to": "int8"}})

    def changed(size: float, **slots: float) -> Finding:
        return Finding(
            "values changed", "x", {"relative_rms": size}, {n: {"relative_rms": s} for n, s in slots.items()}
        )

    assert not_allowed([changed(0.01, w=0.01)], *how)
    assert not_allowed([converted, changed(0.01, w=0.01)], *how) == []
    assert not_allowed([converted, changed(0.01, w=0.01, v=0.0)], *how) == []
    assert not_allowed([converted, changed(0.01, w=0.01, v=0.02)], *how)
    assert not_allowed([converted, changed(0.3, w=0.3)], *how)
    assert not_allowed([converted, changed(0.05, w=0.3)], *how)
    assert not_allowed([converted, changed(float("nan"), w=float("nan"))], *how)
    assert CONVERSIONS["float16"].relative_rms < CONVERSIONS["int8"].relative_rms < CONVERSIONS["int4"].relative_rms


def test_operators_are_allowed_by_name_and_only_all_of_them():
    """One more, one that is not told, or a name with a comma in it, and none is."""

    def differ(added: str, removed: str, came: int, went: int) -> Finding:
        return Finding("operators differ", "x", {"came": came, "went": went, "added": added, "removed": removed})

    named = "QuantizeLinear", "DequantizeLinear", "Relu"
    assert not_allowed([differ("DequantizeLinear,QuantizeLinear", "Relu", 2, 1)], (), (), named) == []
    assert not_allowed([differ("DequantizeLinear,Loop", "Relu", 2, 1)], (), (), named)
    assert not_allowed([differ("DequantizeLinear", "Relu", 2, 1)], (), (), named)
    assert not_allowed([differ("DequantizeLinear,Relu", "", 1, 0)], (), (), named)
    assert not_allowed([differ("DequantizeLinear", "Relu", 1, 1)], (), (), ())
    assert not_allowed([Finding("operators differ", "x")], (), (), named)


def test_forbidden_wins_over_allowed():
    """And is said once."""
    told = Told(findings=(Finding("renamed", "x"),))
    assert codes(Findings(allowances_of(["renamed"])).verify(told)) == []
    assert codes(Findings(allowances_of(["renamed"]), forbidden=("renamed",)).verify(told)) == ["FindingForbidden"]
    assert codes(Findings().verify(told)) == ["FindingNotAllowed"]
    assert codes(Findings().verify(Told("not traced", findings=(Finding("renamed", "x"),)))) == []


def test_decisions_and_requirements():
    """Each decision against each requirement."""
    for decision, traced, identical in (
        ("identical", [], []),
        ("traced", [], ["NotIdentical"]),
        ("not traced", ["NotTraced"], ["NotTraced"]),
        ("inconclusive", ["Inconclusive"], ["Inconclusive"]),
    ):
        assert codes(Traced().verify(Told(decision))) == traced
        assert codes(Identical().verify(Told(decision))) == identical
    assert codes(ExplainedShare(0.9).verify(Told(explained=0.9))) == []
    assert codes(ExplainedShare(0.9).verify(Told(explained=0.89))) == ["TooLittleExplained"]
    assert codes(ExplainedShare(0.9).verify(Told(explained=float("nan")))) == ["TooLittleExplained"]


def test_all_of_nothing_is_refused():
    """It would open for anything."""
    with pytest.raises(UsageError, match="requires nothing"):
        AllOf(())


def test_one_record_must_meet_all_that_is_asked():
    """Not one this and another that; what could not be read leaves a no open, and takes nothing from a yes."""
    gate = AnyRecord(AllOf((Traced(), ExplainedShare(0.9))))
    good, low, no, unsure = Told(), Told(explained=0.5), Told("not traced"), Told("inconclusive")
    assert gate.verify(found(low, good)) == ()
    assert gate.verify(found(good, unsure, unreadable=("x",))) == ()
    assert codes(gate.verify(found(low, no))) == ["TooLittleExplained"]
    assert codes(gate.verify(found(no, unsure))) == ["NotTraced", "Inconclusive"]
    assert max(p.rule.code for p in gate.verify(found(no, unreadable=("x",)))) == UNSURE
    assert gate.settles(good)
    assert not gate.settles(low)


def test_none_of_passes_only_if_every_record_says_so():
    """One that is ours is a no whatever the others say; else what could not be told is could not tell."""
    no, yes, unsure = Told("not traced"), Told("traced"), Told("inconclusive")
    gate = NoneOf()
    assert gate.verify(found(no, no)) == ()
    assert codes(gate.verify(found(yes, unsure, no))) == ["OneOfOurs"]
    assert max(problem.rule.code for problem in gate.verify(found(yes, unsure))) == NO
    assert codes(gate.verify(found(no, unsure))) == ["Inconclusive"]
    assert codes(gate.verify(found(no, unreadable=("x",)))) == ["UnreadableRecord"]
    assert gate.settles(yes)
    assert not gate.settles(no)


def test_a_policy_ends():
    """To the second."""
    end = datetime.datetime(2027, 6, 30, 23, 59, 59, tzinfo=datetime.UTC)
    assert NotExpired(end).verify(end) == ()
    assert codes(NotExpired(end).verify(end + datetime.timedelta(seconds=1))) == ["PolicyExpired"]
    assert NotExpired(None).verify(end) == ()
