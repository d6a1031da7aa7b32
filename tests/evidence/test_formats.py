"""Evidence is what its formats say: by the published schemas, and by the parsers that others use."""

import base64
import json
import xml.etree.ElementTree as ET
from pathlib import Path

import junitparser
import pytest

from onnxnnw import __version__
from onnxnnw.errors import UnreadableData
from onnxnnw.evidence.cyclonedx import bom_of, merged
from onnxnnw.evidence.junit import junit_of
from onnxnnw.evidence.sarif import sarif_of, uri_of
from onnxnnw.evidence.statements import STATEMENT, SVR, TEST_RESULT, VERDICT, payload_of, statements_of
from tests.evidence.conftest import HOSTILE
from tests.support.schemas import cyclonedx_errors, sarif_schema


def everything(document):
    """All values of a JSON document."""
    yield document
    for value in document.values() if isinstance(document, dict) else document if isinstance(document, list) else ():
        yield from everything(value)


@pytest.mark.slow
def test_sarif_is_valid_and_accepted_by_code_scanning(answers, hostile):
    """By the schema; and by GitHub's rules: a message, a location with a line for each result, no null, fail with a level."""
    import jsonschema

    log = json.loads(json.dumps(sarif_of([*answers, hostile], __version__, Path("/"))))
    assert list(jsonschema.Draft7Validator(sarif_schema()).iter_errors(log)) == []
    assert None not in list(everything(log))
    (run,) = log["runs"]
    assert [result["ruleId"] for result in run["results"]] == ["NNW001", "NNW004", "NNW007", "NNW001"]
    for result in run["results"]:
        place = result["locations"][0]["physicalLocation"]
        assert result["message"]["text"]
        assert place["region"]["startLine"] == 1
        assert (
            run["artifacts"][place["artifactLocation"]["index"]]["location"]["uri"] == place["artifactLocation"]["uri"]
        )
        assert (result["kind"], result["level"]) == ("fail", "error")
        assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
    assert run["invocations"][0]["exitCode"] == 3


def test_a_schema_that_is_violated_is_noticed(answers):
    """The oracle is no dummy: a result without message, and a BOM with a component without type, have errors."""
    import jsonschema

    log = sarif_of(answers, __version__, Path("/"))
    del log["runs"][0]["results"][0]["message"]
    assert list(jsonschema.Draft7Validator(sarif_schema()).iter_errors(log))
    bom = bom_of(answers, __version__)
    del bom["components"][0]["type"]
    assert cyclonedx_errors(bom, "1.6")


def test_what_passes_leaves_no_result(answers):
    """Which closes the alerts of earlier runs."""
    assert sarif_of(answers[:1], __version__, Path("/"))["runs"][0]["results"] == []


def test_addresses_are_relative_to_the_repository(tmp_path):
    """As code scanning asks; what lies outside, and what is no plain character, is spelled out."""
    assert uri_of(tmp_path / "a b" / "né t.onnx", tmp_path) == "a%20b/n%C3%A9%20t.onnx"
    assert uri_of(tmp_path / ".." / "x.onnx", tmp_path).startswith("file:///")
    assert uri_of(tmp_path / "..x.onnx", tmp_path) == "..x.onnx"


@pytest.mark.parametrize("version", ["1.6", "1.7"])
def test_the_bill_of_materials_is_valid(answers, fingerprinted, hostile, version, tmp_path):
    """Strictly, in both versions, alone and merged into one that exists."""
    bom = bom_of([*answers, fingerprinted, hostile], __version__, tmp_path / "a.jsonl")
    assert cyclonedx_errors(bom, version) == ""
    old = tmp_path / "old.json"
    old.write_text(json.dumps({**bom_of(answers[:1], __version__), "specVersion": version}))
    assert cyclonedx_errors(merged(old, bom), version) == ""


def test_a_mark_points_back_and_a_fingerprint_does_not(answers, fingerprinted):
    """Pedigree: ancestors by a watermark that nobody could have forged, variants else, nothing where nothing was found."""
    parts = [bom_of([one], __version__)["components"][0] for one in (*answers[:2], fingerprinted)]
    assert [sorted(part.get("pedigree", {})) for part in parts] == [["ancestors", "notes"], [], ["notes", "variants"]]


def test_merging_keeps_what_others_wrote_and_can_be_repeated(answers, tmp_path):
    """A component of the same SHA-256 is completed, others stay; a second merge adds nothing."""
    sha256 = answers[0].subject.model.sha256
    own = {
        "type": "machine-learning-model",
        "name": "theirs",
        "hashes": [{"alg": "SHA-256", "content": sha256.upper()}],
    }
    own["hashes"][0]["content"] = sha256
    own["properties"] = [{"name": "license-checked", "value": "yes"}]
    library = {"type": "library", "name": "numpy", "version": "2"}
    place = tmp_path / "bom.json"
    place.write_text(
        json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.6", "version": 4, "components": [library, own]})
    )
    once = merged(place, bom_of(answers[:1], __version__))
    assert [part["name"] for part in once["components"]] == ["numpy", "theirs"]
    assert once["components"][0] == library
    assert once["components"][1]["properties"][0] == own["properties"][0]
    assert "pedigree" in once["components"][1]
    assert once["version"] == 5
    place.write_text(json.dumps(once))
    assert merged(place, bom_of(answers[:1], __version__))["components"] == once["components"]


@pytest.mark.parametrize(
    "content", ["", "[]", '{"bomFormat": "CycloneDX", "specVersion": "1.4"}', '{"a": 1, "a": 2}', "[" * 99999]
)
def test_only_a_bill_of_materials_is_merged_into(content, tmp_path):
    """Something else is refused by name, whatever it is."""
    place = tmp_path / "bom.json"
    place.write_text(content)
    with pytest.raises(UnreadableData, match=r"bom\.json"):
        merged(place, {"components": []})


def test_junit_is_read_alike_by_two_parsers(answers, hostile):
    """Counts, kinds and names by xml.etree and by junitparser."""
    text = junit_of([*answers, hostile])
    root = ET.fromstring(text)
    parsed = junitparser.JUnitXml.fromstring(text.encode())
    suite = next(iter(parsed))
    assert (parsed.tests, parsed.failures, parsed.errors) == (4, 2, 1)
    cases = list(suite)
    assert [case.name for case in cases] == [case.get("name") for case in root.iter("testcase")]
    kinds = [[type(result).__name__ for result in case.result] for case in cases]
    assert kinds == [[], ["Failure"], ["Error"], ["Failure"]]
    assert "not traced" in cases[1].result[0].message


def test_statements_are_read_by_in_toto(answers, hostile):
    """Its protobuf takes them, field for field; a yes is a simple verification result, the rest test results."""
    from google.protobuf import json_format
    from in_toto_attestation.v1 import statement as in_toto
    from in_toto_attestation.v1 import statement_pb2

    for answer, kind in ((answers[0], SVR), (answers[1], TEST_RESULT), (hostile, TEST_RESULT)):
        first, second = statements_of(answer, __version__, {})
        assert (first["predicateType"], second["predicateType"]) == (kind, VERDICT)
        for one in (
            (first, second) if answer is not hostile else (first,)
        ):  # its verdict skips what cleans texts of files
            parsed = json_format.Parse(payload_of(one).decode("ascii"), statement_pb2.Statement())
            in_toto.Statement.copy_from_pb(parsed).validate()
            assert parsed.type == STATEMENT
            assert parsed.subject[0].digest["sha256"] == answer.subject.model.sha256


def test_predicates_have_what_their_specifications_ask(answers):
    """SVR v0.2: a verifier whose id is a URI, policies, a time, passing properties only; test results by in-toto's protobuf."""
    from google.protobuf import json_format
    from in_toto_attestation.predicates.test_result.v0 import test_result_pb2

    predicate = statements_of(answers[0], __version__, {}, time="2026-11-27T18:00:00Z")[0]["predicate"]
    assert predicate == {
        "verifier": {"id": f"pkg:pypi/onnxnnw@{__version__}", "policies": []},
        "timeCreated": "2026-11-27T18:00:00Z",
        "properties": ["NNW_TRACED"],
    }
    failed = statements_of(answers[1], __version__, {})[0]["predicate"]
    parsed = json_format.ParseDict(failed, test_result_pb2.TestResult())
    assert (parsed.result, list(parsed.failed_tests)) == ("FAILED", ["NNW001 NotTraced"])


def test_no_secret_leaves(answers, enrolled):
    """What a record must keep is in no evidence, in no encoding."""
    from onnxnnw.evidence.page import page_of

    secret = b"m" * 32
    text = (
        json.dumps(sarif_of(answers, __version__, Path("/")))
        + junit_of(answers)
        + json.dumps(bom_of(answers, __version__))
    )
    text += page_of(answers, __version__, "", []) + json.dumps([statements_of(a, __version__, {}) for a in answers[:2]])
    for form in (secret.decode(), secret.hex(), base64.b64encode(secret).decode()):
        assert form not in text


def test_hostile_names_stay_text(hostile):
    """No control character, and nothing that ends a string, leaves in any format."""
    for text in (
        json.dumps(sarif_of([hostile], __version__, Path("/"))),
        junit_of([hostile]),
        json.dumps(bom_of([hostile], __version__)),
    ):
        assert not {"\x1b", "\u202e", "\0"} & set(text)
    log = sarif_of([hostile], __version__, Path("/"))
    message = log["runs"][0]["results"][0]["message"]["text"]
    assert "\\[a\\](javascript" in message
    assert "{{0}}" in message
    assert HOSTILE not in json.dumps(log, ensure_ascii=False)
