"""A policy that is unknown, contradictory or empty is refused, with the place and what there is instead."""

import pytest

from onnxnnw.errors import UnreadableData, UsageError
from onnxnnw.gate.policy_file import load_policy

ENTRY = '[[network]]\nname = "n"\nfiles = ["a.onnx"]\nrecords = ["r"]\nrequire = "traced"\n'
HASH = "ab" * 32


@pytest.mark.parametrize(
    ("head", "text", "said"),
    [
        ("", "", "names no"),
        ("x = 1", ENTRY, "'x' means nothing"),
        ("mode = 'strict'", ENTRY, "off, warn, enforce"),
        ("expires = '2027-01-01'", ENTRY, "without quotation marks"),
        ("false-positive-rate = 0", ENTRY, "between 0 and 1"),
        ("false-positive-rate = true", ENTRY, "between 0 and 1"),
        ("others = 'pass'", ENTRY, "refuse"),
        ("", ENTRY + "require_ = 1", "require_"),
        ("", ENTRY + 'allow = ["renamd"]', "renamed"),
        ("", ENTRY + 'forbid = ["renamd"]', "renamed"),
        ("", ENTRY + 'forbid = ["int8"]', "no finding has the id"),
        ("", ENTRY + "min-explained = nan", "between 0 and 1"),
        ("", ENTRY + "min-explained = 1.5", "between 0 and 1"),
        ("", ENTRY + 'mode = "on"', "off, warn, enforce"),
        ("", ENTRY + 'commitments = ["00"]', "64 hexadecimal"),
        ("", ENTRY + 'attestations = ["a"]', "go together"),
        ("", ENTRY + 'parent = "p.onnx"', "go together"),
        ("", ENTRY + "signed-by = []", "empty"),
        ("", ENTRY.replace('"traced"', '"none-of"') + 'allow = ["renamed"]', "means nothing with none-of"),
        ("", ENTRY.replace('"traced"', '"perfect"'), "none-of"),
        ("", ENTRY.replace('require = "traced"\n', ""), "require ="),
        ("", ENTRY.replace('records = ["r"]\n', ""), "what does it have to come from"),
        ("", ENTRY.replace('["a.onnx"]', "[]"), "empty"),
        ("", ENTRY.replace('["a.onnx"]', '"a.onnx"'), "list of texts"),
        ("", ENTRY.replace("a.onnx", "ftp://x/a.onnx"), "no networks are read from ftp://"),
        ("", ENTRY.replace("a.onnx", "https://x/*.onnx"), "without *"),
        ("", ENTRY.replace("a.onnx", "https://me:secret@x/a.onnx"), "no place for a password"),
        ("", ENTRY.replace("a.onnx", "hf://owner"), "hf://owner/name[@revision]/path was wanted"),
        ("", ENTRY.replace("a.onnx", "https://x/a.onnx") + 'signed-by = ["k"]', "SHA-256 of the whole file"),
        ("", ENTRY.replace('["r"]', '["https://x/r"]'), "records are files on this disk"),
        ("", ENTRY + 'reference = "s3://b/k"', "reference are files on this disk"),
        ("", ENTRY + '[[bundle]]\nfiles = [{path = "hf://x/a", network = "n"}]', "a bundle names files"),
        ("", ENTRY + 'registry = ""', "registry is empty"),
        ("", ENTRY + 'registry = "mysql://h/n"', "not mysql://"),
        ("", ENTRY + 'registry = "postgresql://me:secret@h/n"', "no place for a password"),
        ("", ENTRY + f'registry = "r.db"\ncommitments = ["{HASH}"]', "registry does not go with commitments"),
        ("", ENTRY + 'registry = "r.db"\nreference = "o.onnx"', "registry does not go with reference"),
        ("", ENTRY + 'registry = "r.db"\nattestations = ["a"]\nkeys = ["k"]', "registry does not go with attestations"),
        ("", ENTRY + "committed-before = 2026-11-01", "tsa-roots"),
        ("", ENTRY + 'committed-before = "2026-11-01"\ntsa-roots = ["t"]', "without quotation marks"),
        ("", ENTRY + 'committed-before = 2026-11-01\ntsa-roots = ["t"]', "need proofs"),
        ("", ENTRY + 'timestamp = "yes"', "timestamp = true"),
        ("", ENTRY + 'timestamp = false\ncommitted-before = 2026-11-01\ntsa-roots = ["t"]', "contradicts"),
        ("", ENTRY + 'tsa-roots = ["t"]', "says nothing without"),
        ("", ENTRY + 'timestamp = true\ntsa-roots = ["t"]\nproofs = ["p"]', "go together"),
        ("", ENTRY + "timestamp = true\ntsa-roots = []", "empty"),
        ("", ENTRY + 'timestamp = true\ntsa-roots = ["t"]\nproofs = ["p"]\nlog-keys = ["x"]', "NAME+KEYID"),
        (
            "",
            ENTRY.replace('"traced"', '"none-of"').replace("records", "registry").replace('["r"]', '"r.db"')
            + 'timestamp = true\ntsa-roots = ["t"]',
            "timestamp means nothing with none-of",
        ),
        ("", ENTRY + ENTRY, "one name"),
        ("", ENTRY + '[[bundle]]\nname = "b"\nfiles = []', "files ="),
        ("", ENTRY + '[[bundle]]\nfiles = [{path = "a", network = "m"}]', "no [[network]] is called"),
        (
            "",
            ENTRY + f'[[bundle]]\nfiles = [{{path = "a", network = "n", sha256 = "{HASH}"}}]',
            "either network or sha256",
        ),
        ("", ENTRY + '[[bundle]]\nfiles = [{path = "a", sha256 = "00"}]', "64 hexadecimal"),
        (
            "",
            ENTRY + f'[[bundle]]\nfiles = [{{path = "a", sha256 = "{HASH}"}}, {{path = "a", sha256 = "{HASH}"}}]',
            "twice",
        ),
        ("", "network = 1", "list of at most"),
    ],
)
def test_what_is_wrong_is_said(head, text, said, place):
    """One clear sentence with the file's name in it."""
    with pytest.raises(UsageError) as refused:
        place.policy(text, head)
    assert said in str(refused.value)
    assert "onnxnnw.toml" in str(refused.value)


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"a = [" + b"[" * 99_999, b'format = "onnxnnw/policy/2"', b"a = 1" + b"0" * 9_999]
)
def test_what_is_no_policy_is_refused(content, tmp_path):
    """Another format, another encoding, nesting without end."""
    (tmp_path / "p.toml").write_bytes(content)
    with pytest.raises(UsageError):
        load_policy(tmp_path / "p.toml")


def test_a_policy_that_is_not_there_could_not_be_looked_at(tmp_path):
    """Which is exit code 3, not wrong usage."""
    with pytest.raises(UnreadableData):
        load_policy(tmp_path / "nowhere.toml")
    with pytest.raises(UnreadableData):
        load_policy(tmp_path)


def test_a_day_lasts_until_it_is_over(place):
    """A date without time is its last moment in UTC; with a time and an offset, that moment."""
    assert place.policy(ENTRY, "expires = 2027-06-30").until.isoformat().startswith("2027-06-30T23:59:59")
    assert place.policy(ENTRY, "expires = 2027-06-30T12:00:00+02:00").until.isoformat() == "2027-06-30T10:00:00+00:00"
