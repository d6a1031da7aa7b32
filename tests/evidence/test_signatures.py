"""Signatures: held against other implementations in both directions, and never believed on their own word."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from onnxnnw.errors import UnreadableData, UsageError
from onnxnnw.evidence.attested import check_file, read_statements
from onnxnnw.evidence.envelope import IN_TOTO, Envelope, pae
from onnxnnw.evidence.keys import PASSWORD, load_public_key, load_signer
from onnxnnw.evidence.oms import read_bundle, signed_bundle
from onnxnnw.evidence.statements import payload_of, statements_of
from onnxnnw.evidence.subject import digest_of
from tests.support.keys import KINDS, key_pair
from tests.support.networks import dense, externalise, save

MODEL_SIGNING = Path(sys.executable).with_name("model_signing")


def test_what_is_signed_is_the_specifications_example():
    """PAE of DSSE's own test vector; lengths are of bytes."""
    assert (
        pae("http://example.com/HelloWorld", b"hello world")
        == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )
    assert pae("é", "ü".encode()) == b"DSSEv1 2 \xc3\xa9 2 \xc3\xbc"


@pytest.mark.parametrize("kind", KINDS)
def test_envelopes_are_verified_by_securesystemslib_and_the_other_way(kind, tmp_path):
    """Both directions; a byte more or another key, and both refuse."""
    from securesystemslib.dsse import Envelope as Other
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import CryptoSigner, SSlibKey

    pair = key_pair(tmp_path, kind)
    signer = load_signer(pair.private)
    ours = Envelope(IN_TOTO, b'{"a": 1}').signed(signer)
    theirs = Other.from_dict(json.loads(json.dumps(ours.to_json())))
    key = SSlibKey.from_crypto(signer.public.key, signer.public.id)
    theirs.verify([key], 1)
    theirs.payload += b" "
    with pytest.raises(VerificationError):
        theirs.verify([key], 1)
    made = Other(b'{"b": 2}', IN_TOTO, {})
    made.sign(CryptoSigner(signer._key, key))
    read = Envelope.from_json(json.loads(json.dumps(made.to_dict())))
    assert read.signer([load_public_key(pair.public)]) is not None
    assert Envelope(IN_TOTO, read.payload + b" ", read.signatures).signer([load_public_key(pair.public)]) is None
    assert read.signer([load_public_key(key_pair(tmp_path, kind, "other").public)]) is None


def test_a_key_with_a_password_takes_it_from_the_environment(tmp_path, monkeypatch):
    """Never from the command line; without it, or with another one, the error says what to do."""
    pair = key_pair(tmp_path, "p256", password=b"secret")
    with pytest.raises(UnreadableData, match=PASSWORD):
        load_signer(pair.private)
    monkeypatch.setenv(PASSWORD, "wrong")
    with pytest.raises(UnreadableData, match="another"):
        load_signer(pair.private)
    monkeypatch.setenv(PASSWORD, "secret")
    assert "secret" not in repr(load_signer(pair.private))


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", b"\xff" * 99]
)
def test_what_is_no_key_is_refused(content, tmp_path):
    """Whatever it is."""
    (tmp_path / "k").write_bytes(content)
    for load in (load_public_key, load_signer):
        with pytest.raises(UnreadableData):
            load(tmp_path / "k")


def test_keys_of_other_kinds_are_named(tmp_path):
    """RSA is neither asked for nor silently taken."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(65537, 2048)
    form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (tmp_path / "rsa.pem").write_bytes(key.private_bytes(*form))
    with pytest.raises(UsageError, match="P-256"):
        load_signer(tmp_path / "rsa.pem")


@pytest.fixture
def attested(answers, tmp_path):
    """Signed statements about a yes and a no, with the key pair."""
    pair = key_pair(tmp_path)
    signer = load_signer(pair.private)
    lines = [
        json.dumps(Envelope(IN_TOTO, payload_of(statement)).signed(signer).to_json())
        for answer in answers[:2]
        for statement in statements_of(answer, "1", {})
    ]
    place = tmp_path / "all.intoto.jsonl"
    place.write_text("\n".join(lines) + "\n")
    return place, pair


def test_statements_are_believed_only_signed_about_the_file_and_positive(attested, answers, enrolled, tmp_path):
    """Each alone is a reason to say no."""
    place, pair = attested
    assert [check.problem for check in check_file(place, [enrolled.marked], [pair.public])] == ["", ""]
    assert all(check.problem.startswith("says") for check in check_file(place, [enrolled.original], [pair.public]))
    other = key_pair(tmp_path, "p256", "other")
    assert all("none of the keys" in c.problem for c in check_file(place, [enrolled.marked], [other.public]))
    (check,) = check_file(place, [enrolled.record], [pair.public])
    assert "none of 4 statements is about" in check.problem
    bare = tmp_path / "bare.jsonl"
    bare.write_bytes(payload_of(statements_of(answers[0], "1", {})[0]))
    (check,) = check_file(bare, [enrolled.marked], [pair.public])
    assert check.problem == "is not signed"


def test_a_changed_payload_is_noticed(attested, enrolled):
    """One character of the verdict."""
    place, pair = attested
    document = json.loads(place.read_text().splitlines()[0])
    document["payload"] = document["payload"][:-8] + "AAAA" + document["payload"][-4:]
    place.write_text(json.dumps(document))
    with pytest.raises(UnreadableData):
        check_file(place, [enrolled.marked], [pair.public])


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[]", "null", "\n\n", '{"payload": 1}', "[" * 50_000, '{"_type": "https://in-toto.io/Statement/v1"}', "\x00",
     '{"payload": "e30=", "payloadType": "application/vnd.in-toto+json", "signatures": []}'],
)  # fmt: skip
def test_what_is_no_statement_is_refused(content, tmp_path):
    """With its name, and no traceback."""
    place = tmp_path / "x.jsonl"
    place.write_text(content)
    with pytest.raises(UnreadableData, match=r"x\.jsonl"):
        read_statements(place)


@pytest.mark.parametrize("kind", ["p256", "p384"])
def test_bundles_are_what_model_signing_takes(kind, tmp_path):
    """Its verifier accepts ours, and refuses after one byte more."""
    from model_signing import verifying

    pair = key_pair(tmp_path, kind)
    model = save(dense(), tmp_path / "net.onnx")
    bundle = tmp_path / "net.onnx.sig"
    bundle.write_bytes(signed_bundle(model, load_signer(pair.private), bundle))
    check = verifying.Config().use_elliptic_key_verifier(public_key=pair.public)
    check.verify(model, bundle)
    with model.open("ab") as file:
        file.write(b"\0")
    with pytest.raises(ValueError, match="mismatch"):
        check.verify(model, bundle)


def test_bundles_of_model_signing_are_verified(tmp_path):
    """Of a file and of a folder; a changed file, another key, a file that is not covered are each a reason to say no."""
    from model_signing import signing

    pair, other = key_pair(tmp_path), key_pair(tmp_path, "p256", "other")
    folder = tmp_path / "models"
    folder.mkdir()
    model = save(dense(), folder / "net.onnx")
    (folder / "tokenizer.json").write_text("{}")
    sign = signing.Config().use_elliptic_key_signer(private_key=pair.private)
    sign.sign(model, tmp_path / "net.sig")
    sign.sign(folder, folder / "model.sig")
    keys = [load_public_key(pair.public)]
    for place in (tmp_path / "net.sig", folder / "model.sig"):
        bundle = read_bundle(place)
        assert bundle.problem([digest_of(model)], keys) == ""
        assert "none of the keys" in bundle.problem([digest_of(model)], [load_public_key(other.public)])
    assert "weights" in read_bundle(tmp_path / "net.sig").problem([digest_of(model), digest_of(model)], keys)
    assert "does not cover" in read_bundle(folder / "model.sig").problem([digest_of(tmp_path / "net.sig")], keys)
    save(dense(seed=1), model)
    for place in (tmp_path / "net.sig", folder / "model.sig"):
        assert read_bundle(place).problem([digest_of(model)], keys)


@pytest.mark.slow
def test_its_command_line_agrees(tmp_path):
    """As people run it: a folder with a network whose weights lie in another file, signed here and verified there."""
    pair = key_pair(tmp_path)
    folder = tmp_path / "models"
    folder.mkdir()
    model = externalise(dense(), folder, "net.onnx", lambda name: "weights.bin" if name.startswith("w") else None)
    with pytest.raises(UsageError, match="sign the folder"):
        signed_bundle(model, load_signer(pair.private), tmp_path / "x.sig")
    bundle = folder / "model.sig"
    bundle.write_bytes(signed_bundle(folder, load_signer(pair.private), bundle))
    command = [MODEL_SIGNING, "verify", "key", folder, "--signature", bundle, "--public_key", pair.public]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    with (folder / "weights.bin").open("r+b") as file:
        file.write(b"\1")
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0


def test_damaged_bundles_are_refused(tmp_path):
    """By name, whatever was done to them."""
    pair = key_pair(tmp_path)
    model = save(dense(), tmp_path / "net.onnx")
    good = json.loads(signed_bundle(model, load_signer(pair.private), tmp_path / "s"))
    place = tmp_path / "s.sig"
    for damage in (
        {"mediaType": "application/json"},
        {"verificationMaterial": {"certificate": {}}},
        {"verificationMaterial": []},
        {"dsseEnvelope": {}},
        {"dsseEnvelope": {**good["dsseEnvelope"], "payload": "e30="}},
        {"dsseEnvelope": {**good["dsseEnvelope"], "payloadType": "text/plain"}},
    ):
        place.write_text(json.dumps({**good, **damage}))
        with pytest.raises(UnreadableData, match=r"s\.sig"):
            read_bundle(place)
