"""The log of a registry: what it signs and proves, and that no change of the past goes unnoticed."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from onnxnnw.cli import main
from onnxnnw.errors import CannotLook, UnreadableData, UnreadableRegistry, UsageError
from onnxnnw.registry.encryption import EncryptedVault
from onnxnnw.registry.log import merkle
from onnxnnw.registry.log.checked import check_file
from onnxnnw.registry.log.checkpoints import SigningKey, VerifierKey, parse_checkpoint
from onnxnnw.registry.log.evidence import existed_before
from onnxnnw.registry.log.kept import KeptLog, append
from onnxnnw.registry.log.proofs import check_consistency, check_inclusion
from onnxnnw.registry.log.timestamps import MAX_BYTES, check_stamp, request_stamp
from onnxnnw.registry.schema import sql, tables
from onnxnnw.registry.store import Registry
from tests.support.timestamps import Authority, serving

GOLDEN = Path(__file__).parents[2] / "golden"
RECORDS = ["mark-1.json", "mark-2.json", "trace-1.json", "recipient-1.json", "rtw-1.json", "tbw-1.json"]


def content_of(name: str) -> bytes:
    return (GOLDEN / name).read_bytes()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    """Three records, then one, then two more."""
    with Registry(tmp_path / "records.db", create=True, logged=append) as opened:
        for names in (RECORDS[:3], RECORDS[3:4]):
            opened.add([content_of(name) for name in names])
        yield opened


def log_of(registry: Registry) -> KeptLog:
    return KeptLog(registry.database, registry.vault)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tsa") / "a")


def test_notes_are_those_of_other_programs() -> None:
    """The example of the signed note that Go's own package publishes: key, key ID and signature."""
    text = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    key = VerifierKey.from_text(text)
    assert (str(key), key.key_id.hex()) == (text, "c74f20a3")
    note = b"If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n"
    packed = "x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM="
    signature = base64.b64decode(packed)
    assert signature[:4] == key.key_id
    assert key.verifies(note, signature[4:])
    assert not key.verifies(note + b"\n", signature[4:])


def test_a_checkpoint_comes_back_and_every_changed_byte_is_noticed() -> None:
    """Signatures of witnesses are passed over; another log's, a damaged or an unsigned one is refused."""
    key = SigningKey("example.com/log", bytes(range(32)))
    signed = key.sign(7, b"r" * 32)
    assert parse_checkpoint(signed.note, key.verifier) == signed
    witness = SigningKey("witness.example", b"w" * 32).sign(7, b"r" * 32).note.decode().split("\n")[-2]
    assert parse_checkpoint(signed.note + f"{witness}\n".encode(), key.verifier).size == 7
    for place in range(len(signed.note)):
        changed = bytearray(signed.note)
        changed[place] ^= 1
        with pytest.raises(UnreadableData):
            parse_checkpoint(bytes(changed), key.verifier)
    for broken in (b"", signed.note[:-1], signed.text.encode(), b"\xff", b"a" * 2**17, signed.note + b"x\n"):
        with pytest.raises(UnreadableData):
            parse_checkpoint(broken, key.verifier)
    with pytest.raises(UnreadableData, match="not of 'other'"):
        parse_checkpoint(signed.note, SigningKey("other", bytes(32)).verifier)
    for bad in ("", "a+b", "a b+00000000+AQ==", str(key.verifier).replace("+", "+0", 1), str(key.verifier)[:-4]):
        with pytest.raises(UsageError):
            VerifierKey.from_text(bad)


def test_whatever_is_added_is_in_the_log_and_proven(registry: Registry) -> None:
    """Each record, before and after more come; and the log only grew."""
    log = log_of(registry)
    key = log.key("example.com/acme")
    older = log.checkpoint()
    assert older.size == 4
    registry.add([content_of(name) for name in RECORDS])  # four are there already
    newer = log.checkpoint()
    assert (newer.size, log.problems()) == (6, [])
    assert parse_checkpoint(newer.note, key) == newer
    for index, entry in enumerate(registry.entries()):
        proof = log.prove(entry.commitment[:12])
        included = check_inclusion(proof.content, entry.commitment, key)
        assert included is not None
        assert (included.index, included.checkpoint) == (index, newer)
        assert check_inclusion(proof.content, "0" * 64, key) is None
    path = log.consistency(older.size)
    assert check_consistency(path, older, key) == newer
    forked = SigningKey("example.com/acme", b"f" * 32)
    assert check_consistency(log.consistency(6), newer, key) == newer
    with pytest.raises(UnreadableData, match="not signed by the key"):
        check_consistency(path, older, forked.verifier)
    with pytest.raises(UsageError, match="cannot be changed"):
        log.key("another.example/name")
    with pytest.raises(UsageError, match="never had"):
        log.consistency(7)
    with pytest.raises(UsageError, match="no entry"):
        log.prove("00000000")


def test_a_rewritten_past_does_not_fit_what_was_signed(registry: Registry, tmp_path: Path) -> None:
    """The same owner and key, one older record exchanged: the log is whole in itself, and no proof leads from the old head."""
    log = log_of(registry)
    key, older = log.key(), log.checkpoint()
    with registry.database.reading() as connection:
        kept = [
            tuple(row)
            for row in connection.execute(sql().select(tables().info).where(tables().info.c.name.like("log/%")))
        ]
    with Registry(tmp_path / "other.db", create=True, logged=append) as other:
        with other.database.writing() as connection:
            connection.execute(tables().info.insert(), [{"name": name, "value": value} for name, value in kept])
        other.add(
            [
                content_of(name)
                for name in ("mark-1.json", "rtw-1.json", "trace-1.json", "recipient-1.json", "tbw-1.json")
            ]
        )
        rewritten = log_of(other)
        assert rewritten.problems() == []
        assert rewritten.key() == key
        assert check_consistency(rewritten.consistency(older.size), older, key) is None


@pytest.mark.parametrize("table", ["log_entries", "log_nodes"])
def test_every_changed_row_of_the_log_is_found(registry: Registry, table: str) -> None:
    """An entry or a hash that was changed, taken away or put there."""
    log, sa = log_of(registry), sql()
    rows = getattr(tables(), table)
    with registry.database.reading() as connection:
        before = [dict(row._mapping) for row in connection.execute(sa.select(rows))]
    for number, row in enumerate(before):
        column = "commitment" if table == "log_entries" else "hash"
        other = "0" * 64 if table == "log_entries" else bytes(32)
        for changed in ([{**row, column: other}], [], [row, {**row, "place": 99, column: other}]):
            with registry.database.writing() as connection:
                connection.execute(rows.delete())
                connection.execute(rows.insert(), [*before[:number], *changed, *before[number + 1 :]])
            assert log.problems(), (number, changed)
    with registry.database.writing() as connection:
        connection.execute(rows.delete())
        connection.execute(rows.insert(), before)
    assert log.problems() == []


def test_what_is_not_added_is_not_logged(tmp_path: Path) -> None:
    """One bad record among good ones: neither records nor log have any of them."""
    with Registry(tmp_path / "r.db", create=True, logged=append) as registry:
        with pytest.raises(CannotLook):
            registry.add([content_of("mark-1.json"), b"no record"])
        log = log_of(registry)
        assert (log.checkpoint().size, log.checkpoint().root, log.problems()) == (0, merkle.EMPTY, [])

        def failing(connection: object, commitments: object) -> None:
            append(connection, commitments)  # type: ignore[arg-type]
            raise UnreadableRegistry("no room")

        registry.logged = failing
        with pytest.raises(UnreadableRegistry, match="no room"):
            registry.add([content_of("mark-1.json")])
        assert (len(registry), log.checkpoint().size, log.problems()) == (0, 0, [])


def test_a_tree_of_thousands_is_checked_in_pieces(tmp_path: Path) -> None:
    """More entries than are read at once; nothing but records is missing, and every proof holds."""
    with Registry(tmp_path / "r.db", create=True, logged=append) as registry:
        commitments = [f"{number:064x}" for number in range(4096 + 4096 + 5)]
        for start in range(0, len(commitments), 3000):
            with registry.database.writing() as connection:
                append(connection, commitments[start : start + 3000])
        log = log_of(registry)
        assert all("has no record" in problem for problem in log.problems())
        with registry.database.writing() as connection:
            nodes = tables().log_nodes
            connection.execute(
                nodes.update().where((nodes.c.level == 12) & (nodes.c.place == 1)).values(hash=b"x" * 32)
            )
        assert any("level 12" in problem for problem in log.problems())


def test_a_timestamp_is_kept_and_checked_offline(registry: Registry, authority: Authority, tmp_path: Path) -> None:
    """Asked for by HTTP, kept in the registry, exported beside the proof; the earliest one counts."""
    log = log_of(registry)
    key, first = log.key(), log.checkpoint()
    roots = authority.root.read_bytes()
    commitment = registry.entries()[1].commitment
    assert log.existed_before(commitment, roots) is None
    with serving(authority.answer) as url:
        early = request_stamp(first.note, url, roots)
        log.keep_stamp(first, early)
        registry.add([content_of(name) for name in RECORDS[4:]])
        second = log.checkpoint()
        log.keep_stamp(second, request_stamp(second.note, url))
    assert early.checked
    assert log.existed_before(commitment, roots) == early.text
    assert [each.size for each in log.stamps()] == [4, 6]
    proof = log.prove(commitment)
    assert (proof.checkpoint, proof.stamp) == (first, log.stamps()[0])
    assert log.prove(registry.entries()[5].commitment).checkpoint == second
    place = tmp_path / "p.tlog-proof"
    place.write_bytes(proof.content)
    (tmp_path / "p.tlog-proof.tsr").write_bytes(early.token)
    found = existed_before(commitment, place, key, authority.root)
    assert (found.text, found.checked) == (early.text, True)
    with pytest.raises(UnreadableData, match="does not show"):
        existed_before("0" * 64, place, key, authority.root)
    assert log.problems() == []
    with registry.database.writing() as connection:
        info = tables().info
        connection.execute(info.delete().where(info.c.name == "stamp/00000000"))
        note = SigningKey(key.name, log._signing().seed).sign(4, b"x" * 32).note
        value = f"{base64.b64encode(note).decode()} {base64.b64encode(early.token).decode()}"
        connection.execute(info.insert().values(name="stamp/00000000", value=value))
    assert log.problems() == ["the log does not begin with the 4 entries that were timestamped"]


@pytest.mark.slow
def test_tokens_that_are_none_are_refused(authority: Authority, tmp_path: Path) -> None:
    """Of something else, of another authority, cut, without end, refused or redirected; each by a clear error."""
    roots = authority.root.read_bytes()
    with serving(authority.answer) as url:
        token = request_stamp(b"note", url).token
    stranger = Authority(tmp_path / "other", "another authority")
    for bad, note, trusted in (
        (token, b"another note", roots),
        (token, b"note", stranger.root.read_bytes()),
        (token, b"note", b"no certificate"),
        (token[:-7], b"note", roots),
        (b"", b"note", roots),
        (b"0" * (MAX_BYTES + 1), b"note", roots),
    ):
        with pytest.raises(UnreadableData):
            check_stamp(bad, note, trusted)
    for place in range(0, len(token), 13):
        changed = bytearray(token)
        changed[place] ^= 1
        try:
            assert check_stamp(bytes(changed), b"note", roots).before == check_stamp(token, b"note", roots).before
        except UnreadableData:
            continue
    with serving(lambda question: token) as url, pytest.raises(CannotLook, match="another question"):
        request_stamp(b"note", url)
    with serving(lambda question: b"x" * (MAX_BYTES + 1)) as url, pytest.raises(CannotLook, match="more than"):
        request_stamp(b"note", url)
    with serving(lambda question: b"no", status=500) as url, pytest.raises(CannotLook, match="500"):
        request_stamp(b"note", url)
    with serving(authority.answer) as aim, serving(lambda question: b"", 302, aim) as url, pytest.raises(CannotLook):
        request_stamp(b"note", url)
    for url in ("ftp://example.com", "file:///etc/passwd", "nothing"):
        with pytest.raises(UsageError):
            request_stamp(b"note", url)


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return int(str(ended.value.code))


def test_the_commands_prove_and_check(registry: Registry, authority: Authority, tmp_path: Path, capsys) -> None:
    """Stamp, key, proof, checkpoint; checked without the registry; and by when it existed in the verdict's evidence."""
    place, proof = tmp_path / "records.db", tmp_path / "net.tlog-proof"
    with serving(authority.answer) as url:
        assert run("registry", "stamp", "--registry", place, "--tsa", url, "--tsa-root", authority.root) == 0
    assert "4 entries existed before" in capsys.readouterr().out
    assert run("registry", "log", "--registry", place, "--key") == 0
    key = capsys.readouterr().out.strip()
    assert run("registry", "log", "--registry", place) == 0
    (tmp_path / "older").write_text(capsys.readouterr().out)
    commitment = registry.entries()[1].commitment
    assert run("registry", "log", "--registry", place, "--prove", commitment[:8], "-o", proof) == 0
    registry.add([content_of(name) for name in RECORDS[4:]])
    assert run("registry", "log", "--registry", place, "--since", 4, "-o", tmp_path / "grew") == 0
    capsys.readouterr()
    ours = ("--key", key, "--json")
    record = GOLDEN / "mark-2.json"
    assert run("registry", "log", "verify", proof, *ours, "--record", record, "--tsa-root", authority.root) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["holds"], found["what"], found["size"], found["index"]) == (1, "inclusion", 4, 1)
    assert found["existed_before"].endswith("Z")
    assert run("registry", "log", "verify", proof, *ours, "--record", GOLDEN / "rtw-1.json") == 1
    assert json.loads(capsys.readouterr().out)["holds"] == 0
    assert run("registry", "log", "verify", tmp_path / "grew", *ours, "--older", tmp_path / "older") == 0
    assert json.loads(capsys.readouterr().out)["what"] == "consistency"
    assert run("registry", "log", "verify", tmp_path / "older", *ours) == 0
    assert json.loads(capsys.readouterr().out)["what"] == "checkpoint"
    more = ("--proof", proof, "--log-key", key, "--tsa-root", authority.root, "--json")
    assert run("verify", GOLDEN / "marked-added.onnx", "--record", record, *more) == 0
    evidence = json.loads(capsys.readouterr().out)["evidence"]
    assert evidence["existed_before"] == found["existed_before"]
    assert f"existed before {found['existed_before']}" in evidence["sentence"]
    assert run("verify", GOLDEN / "marked-added.onnx", "--record", record, "--json") == 0
    assert json.loads(capsys.readouterr().out)["evidence"]["existed_before"] is None


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["registry", "log"], 2, "give a registry"),
        (["registry", "log", "--registry", "none.db"], 3, "there is no registry"),
        (["registry", "log", "--registry", "{db}", "--key", "--since", "0"], 2, "ask one"),
        (["registry", "log", "--registry", "{db}", "--since", "9"], 2, "never had"),
        (["registry", "log", "--registry", "{db}", "--prove", "zz"], 2, "hexadecimal"),
        (["registry", "log", "verify", "{db}", "--key", "nonsense"], 2, "NAME+KEYID"),
        (["registry", "log", "verify", "{db}", "--key", "{key}"], 3, "no checkpoint"),
        (["registry", "log", "verify", "nothing", "--key", "{key}"], 3, "nothing"),
        (["registry", "stamp", "--registry", "{db}", "--tsa", "gopher://x"], 2, "http or https"),
        (["verify", "x.onnx", "--record", "r", "--proof", "p"], 2, "belong together"),
    ],
)
def test_errors_of_the_commands(registry: Registry, tmp_path, monkeypatch, capsys, arguments, code, words) -> None:
    """One line, the right code."""
    monkeypatch.chdir(tmp_path)
    key = SigningKey("example.com/log", bytes(32)).verifier
    monkeypatch.delenv("ONNXNNW_REGISTRY", raising=False)
    assert run(*(each.format(db="records.db", key=key) for each in arguments)) == code
    shown = capsys.readouterr()
    assert words in shown.err
    assert shown.out == ""


def test_an_encrypted_registry_keeps_the_key_of_its_log_too(tmp_path: Path) -> None:
    """It cannot sign without the key file, and its seed is nowhere in the file."""
    vault = EncryptedVault(b"k" * 32)
    with Registry(tmp_path / "r.db", create=True, vault=vault, logged=append) as registry:
        registry.add([content_of("mark-1.json")])
        log = log_of(registry)
        log.checkpoint()
        seed = log._signing().seed
        with pytest.raises(UnreadableRegistry):
            KeptLog(registry.database, EncryptedVault(b"x" * 32)).checkpoint()
    whole = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert seed not in whole
    assert base64.b64encode(seed) not in whole


def test_a_file_that_is_nothing_of_a_log_is_refused(tmp_path: Path) -> None:
    """And questions that do not go with the file are wrong usage."""
    key = SigningKey("example.com/log", bytes(32))
    note = tmp_path / "note"
    note.write_bytes(key.sign(0, merkle.EMPTY).note)
    with pytest.raises(UsageError, match="says nothing of a record"):
        check_file(note, str(key.verifier), "0" * 64)
    with pytest.raises(UsageError, match="--older goes with"):
        check_file(note, str(key.verifier), older=note)
    for content in (b"", b"old 1\n\n", b"c2sp.org/tlog-proof@v1\nindex 00\n\n", b"\x00" * 99, b"old 0\n" + b"A\n" * 99):
        path = tmp_path / "bad"
        path.write_bytes(content + (note.read_bytes() if content.endswith(b"\n\n") else b""))
        with pytest.raises((UnreadableData, UsageError)):
            check_file(path, str(key.verifier), "0" * 64 if content.startswith(b"c2sp") else "", older=note)
