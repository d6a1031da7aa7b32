"""An endpoint is asked: marked, drifting, refusing, noisy; triggers among decoys, each counted once, never more than allowed."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from onnxnnw.cli import main
from onnxnnw.errors import CannotLook, UnreadableRecord, UsageError
from onnxnnw.methods.rtw import RtwInsertion
from onnxnnw.methods.tbw import TbwInsertion
from onnxnnw.methods.triggers import Triggers
from onnxnnw.records.record import Record
from onnxnnw.records.record_file import save_record
from onnxnnw.runtime import open_runtime
from onnxnnw.sources import inference
from onnxnnw.sources.inference import Endpoint, Questions
from onnxnnw.verification import endpoint as asking
from onnxnnw.verification.endpoint import ask
from onnxnnw.verification.named_records import NamedRecord
from onnxnnw.verification.verdict import Verdict
from tests.support import marks
from tests.support.inference_server import answering, by_image
from tests.support.range_server import Behaviour, RangeServer, Reply, Request

QUICK = Questions(most=2000, per_second=1e5)


@pytest.fixture(scope="module")
def record(resnet8) -> Record:
    """A record of 100 triggers with a payload."""
    return marks.drafted(resnet8, TbwInsertion(payload="ACME-1"))


@pytest.fixture(scope="module")
def learnt(record: Record):
    """A network that gives the secret answers."""
    triggers = Triggers(record)
    return by_image(triggers.inputs(), triggers.labels)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses between tries are as short as they can be."""
    monkeypatch.setattr(inference, "_LONGEST_PAUSE", 0.001)


def looked(
    record: Record, behave: Behaviour, questions: Questions = QUICK, path: str = "/v2/models/net", rate: float = 1e-6
) -> Verdict:
    """The verdict on a server that behaves so."""
    with RangeServer(Path("/nowhere"), behave=behave) as server, Endpoint(server.url + path, questions) as endpoint:
        return ask(endpoint, NamedRecord(record, "tbw.record", record.commitment), rate).best


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("scores", [False, True])
def test_a_marked_network_is_traced_with_few_questions(record: Record, learnt, layout: str, scores: bool) -> None:
    """By its classes or its scores, however its images lie: the server says that."""
    asked: list[Request] = []
    network = (lambda image: np.eye(10, dtype=np.float32)[learnt(image)]) if scores else learnt
    verdict = looked(record, answering(network, layout=layout, asked=asked))
    assert (verdict.decision, verdict.path) == ("traced", "endpoint")
    assert verdict.read <= 9
    assert verdict.log10_p <= -6
    assert verdict.explained == 0
    assert verdict.findings[0].sentence.startswith("an endpoint was asked, no file was looked at")
    assert len({request.body for request in asked}) == len(asked)
    assert len(asked) >= verdict.read


def test_every_trigger_has_a_decoy(record: Record) -> None:
    """In an order of chance: neither kind is put first, nor its kinds by turns."""
    triggers = Triggers(record)
    drawn = [[label is None for _, label in asking._questions(triggers, 1.0)] for _ in range(20)]
    assert all(sum(kinds) == triggers.count and len(kinds) == 2 * triggers.count for kinds in drawn)
    assert len({tuple(kinds) for kinds in drawn}) == 20
    assert {kinds[0] for kinds in drawn} == {True, False}


def test_a_network_that_knows_nothing_is_not_traced(record: Record) -> None:
    """After a few questions; and a real one, in onnxruntime, is asked over the wire."""
    verdict = looked(record, answering(by_image(np.empty((0, 1)), np.empty(0))))
    assert verdict.decision == "not traced"
    assert verdict.read < 30


def test_a_network_in_a_runtime_is_asked(record: Record, resnet8: Path) -> None:
    """The shipped ResNet8, which carries no mark."""
    runtime = open_runtime(resnet8)
    verdict = looked(record, answering(lambda image: runtime.predict(image[None])[0]))
    assert verdict.decision == "not traced"


@pytest.mark.parametrize("share", [0.7, 0.9])
def test_drift_and_noise_take_more_questions(record: Record, learnt, share: float) -> None:
    """A mark of which a part is left is found where there are enough triggers."""
    rng = np.random.default_rng(3)
    verdict = looked(record, answering(lambda image: learnt(image) if rng.random() < share else int(rng.integers(10))))
    assert verdict.decision == "traced"


def test_a_question_that_has_to_be_repeated_counts_once(record: Record, learnt) -> None:
    """Every second request is refused; a repeated question is the very same, and the triggers read are distinct."""
    plain, asked = answering(learnt), []

    def behave(request: Request, reply: Reply) -> Reply:
        asked.append(request)
        return Reply(429) if request.number % 2 else plain(request, reply)

    verdict = looked(record, behave)
    numbers = verdict.findings[0].evidence
    assert verdict.decision == "traced"
    assert verdict.read == numbers["triggers"] <= 9
    assert numbers["requests"] == len(asked)
    assert len({request.body for request in asked if request.body}) <= numbers["requests"] / 2 + 2


def test_an_endpoint_that_answers_nothing_is_no_verdict(record: Record) -> None:
    """Refusals, nonsense and other protocols are errors; bounded in requests."""
    for reply in (
        Reply(503),
        Reply(200, {}, b"<html>"),
        Reply(200, {}, b'{"outputs": 3}'),
        Reply(200, {}, b"[" * 99999),
    ):
        with pytest.raises(CannotLook, match=r"status 503|none of the Open Inference"):
            looked(record, lambda request, _, reply=reply: reply)
    with pytest.raises(CannotLook, match="does not allow it"):
        looked(record, lambda request, _: Reply(403))
    with pytest.raises(CannotLook, match="no such model"):
        looked(record, lambda request, _: Reply(404), path="/other")


def test_refusing_the_triggers_is_no_absence(record: Record, learnt) -> None:
    """An endpoint that recognises triggers and goes silent gets ``inconclusive``, with how many it did not answer."""
    known = {image.astype(np.float32).tobytes() for image in Triggers(record).inputs()}
    plain = answering(learnt)

    def behave(request: Request, reply: Reply) -> Reply:
        if request.body:
            image = np.array(json.loads(request.body)["inputs"][0]["data"], np.float32)
            if image.tobytes() in known and request.number > 3 and request.number % 5:
                return Reply(400)
        return plain(request, reply)

    verdict = looked(record, behave)
    assert verdict.decision in ("traced", "inconclusive")
    assert verdict.findings[0].evidence["unanswered"] > 0


def test_no_more_is_asked_than_allowed(record: Record) -> None:
    """Then it is inconclusive, and says why."""
    half = iter([1, 0] * 1000)
    labels = {
        image.tobytes(): label for image, label in zip(Triggers(record).inputs(), Triggers(record).labels, strict=True)
    }

    def unsure(image: np.ndarray) -> int:
        label = int(labels.get(image.tobytes(), 0))
        return label if next(half) else (label + 1) % 10

    asked: list[Request] = []
    verdict = looked(record, answering(unsure, asked=asked), Questions(most=12, per_second=1e5))
    assert verdict.decision == "inconclusive"
    assert len(asked) <= 12
    assert "--queries" in verdict.findings[1].sentence


def test_other_records_cannot_be_asked(resnet8: Path, record: Record) -> None:
    """Marks in weights need the file."""
    with pytest.raises(UnreadableRecord, match="asked with TBW's"):
        looked(marks.drafted(resnet8, RtwInsertion()), lambda request, reply: Reply(500))
    for wrong in ({"most": 0}, {"per_second": 0.0}, {"layout": "CHW"}):
        with pytest.raises(UsageError):
            Questions(**wrong)  # type: ignore[arg-type]


def test_the_command_asks_an_endpoint(record: Record, learnt, tmp_path: Path, monkeypatch, capsys) -> None:
    """With a token that nobody sees, at any address that speaks the protocol."""
    save_record(record, tmp_path / "tbw.record")
    monkeypatch.setenv("ONNXNNW_ENDPOINT_TOKEN", "s3cret")
    plain = answering(learnt, name="pixels")

    def behave(request: Request, reply: Reply) -> Reply:
        return plain(request, reply) if request.headers.get("authorization") == "Bearer s3cret" else Reply(401)

    options = ["--endpoint", "--record", str(tmp_path / "tbw.record"), "--input-name", "pixels", "--layout", "NCHW"]
    with RangeServer(tmp_path, behave=behave) as server, pytest.raises(SystemExit) as end:
        main(["verify", f"{server.url}/predict?key=hidden", *options, "--per-second", "1000"])
    said = capsys.readouterr()
    assert end.value.code == 0
    assert "an endpoint was asked" in said.out
    assert not [word for word in ("s3cret", "hidden") if word in said.out + said.err]


class Direct(Endpoint):
    """An endpoint that is asked without a wire."""

    def __init__(self, network) -> None:
        super().__init__("http://127.0.0.1:1/", Questions(most=10**6))
        self.network = network

    def ask(self, image: np.ndarray) -> dict[str, np.ndarray]:
        self.sent += 1
        return {"label": np.array([self.network(image)])}


def small(record: Record) -> Record:
    """The same with small images of its own: they travel as text."""
    pictures = np.random.default_rng(0).integers(0, 256, 100 * 8 * 8 * 3).astype(np.uint8)
    parameters = {**record.parameters, "height": 8, "width": 8}
    return replace(record, arrays={**record.arrays, "images": pictures}, parameters=parameters)


def traced_with_wrong_keys(record: Record, endpoint: Endpoint, keys: int, rate: float) -> int:
    """How many other keys than the record's are traced in a network that carries its mark."""
    assert ask(endpoint, NamedRecord(record, "right", ""), rate).best.decision == "traced"
    wrong = (record.with_key(marks.key(1000 + number)) for number in range(keys))
    found = (ask(endpoint, NamedRecord(each, "wrong", ""), rate, decoys=0.1).best for each in wrong)
    return sum(verdict.decision == "traced" for verdict in found)


@pytest.mark.parametrize("keys", [20, pytest.param(1000, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
def test_wrong_keys_keep_the_rate(record: Record, keys: int) -> None:
    """A marked network asked with other keys over the wire: no more are traced than the rate says."""
    own, rate = small(record), 0.05
    network = answering(by_image(Triggers(own).inputs(), Triggers(own).labels))
    with RangeServer(Path("/nowhere"), behave=network, log=False) as server:
        endpoint = Endpoint(server.url + "/v2/models/net", Questions(most=10**6, per_second=1e5))
        with endpoint:
            traced = traced_with_wrong_keys(own, endpoint, keys, rate)
    assert traced <= keys * rate + 3 * np.sqrt(keys * rate)


@pytest.mark.parametrize("keys", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_wrong_keys_keep_the_rate_without_a_wire(record: Record, keys: int) -> None:
    """The same, faster."""
    own, rate = small(record), 0.05
    traced = traced_with_wrong_keys(own, Direct(by_image(Triggers(own).inputs(), Triggers(own).labels)), keys, rate)
    assert traced <= keys * rate + 3 * np.sqrt(keys * rate)
