"""Encryption at rest: nothing secret in the file, nothing moved or changed goes unnoticed, and no nonce twice."""

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from hypothesis import given
from hypothesis import strategies as st

from onnxnnw.errors import UnreadableRegistry, UsageError
from onnxnnw.records.record_file import load_record
from onnxnnw.registry.encryption import KEY_VARIABLE, EncryptedVault, new_key_file, read_key_file, vault_of
from onnxnnw.registry.log.kept import append
from onnxnnw.registry.schema import sql, tables
from onnxnnw.registry.store import Registry

GOLDEN = Path(__file__).parents[1] / "golden"
KEY = bytes(range(32))


@given(st.binary(max_size=200), st.text(st.characters(exclude_categories=["Cs"]), max_size=20))
def test_what_was_sealed_opens_in_its_place_only(content: bytes, place: str) -> None:
    """Any bytes, any place; not in another place, not with another key, not with one bit changed."""
    vault = EncryptedVault(KEY)
    stored = vault.seal(content, place)
    assert vault.open(stored, place) == content
    assert vault.seal(content, place)[:45] != stored[:45]
    changed = bytearray(stored)
    changed[len(content) % len(stored)] ^= 1
    for vault_, bytes_, where in (
        (vault, stored, place + "x"),
        (EncryptedVault(bytes(32)), stored, place),
        (vault, bytes(changed), place),
        (vault, stored[:-1], place),
        (vault, b"", place),
    ):
        with pytest.raises(UnreadableRegistry):
            vault_.open(bytes_, where)


def test_the_form_is_the_one_that_is_documented() -> None:
    """1 | salt | nonce | ciphertext: opened here by hand, with the place as associated data."""
    stored = EncryptedVault(KEY).seal(b"content", "record 1")
    salt, nonce = stored[1:33], stored[33:45]
    key = HKDF(hashes.SHA256(), 32, salt, b"onnxnnw/registry/at-rest/1").derive(KEY)
    assert stored[:1] == b"\x01"
    assert AESGCM(key).decrypt(nonce, stored[45:], b"record 1") == b"content"


def test_no_salt_is_used_twice() -> None:
    """A key of its own for each of ten thousand pieces."""
    vault = EncryptedVault(KEY)
    assert len({vault.seal(b"", "p")[1:33] for _ in range(2_000)}) == 2_000


def test_a_registry_at_rest_shows_no_secret_and_its_rows_cannot_be_swapped(tmp_path: Path) -> None:
    """Neither secrets nor host values nor positions stand in the file; records that change places are refused."""
    names = ["mark-1.json", "mark-2.json", "recipient-1.json"]
    vault = EncryptedVault(KEY)
    with Registry(tmp_path / "r.db", create=True, vault=vault, logged=append) as registry:
        registry.add([(GOLDEN / name).read_bytes() for name in names])
        one, two, _ = (entry.commitment for entry in registry.entries())
        assert registry.content(two) == (GOLDEN / "mark-2.json").read_bytes()
        records, wholes = tables().records, tables().wholes
        for table, identity, column in ((records, records.c.id, "content"), (wholes, wholes.c.record_id, "data")):
            with registry.database.writing() as connection:
                rows = connection.execute(sql().select(identity, table.c[column]).order_by(identity)).all()
                for number, content in ((rows[0][0], rows[1][1]), (rows[1][0], rows[0][1])):
                    connection.execute(table.update().where(identity == number).values({column: content}))
        for commitment in (one, two):
            with pytest.raises(UnreadableRegistry, match="do not open"):
                registry.content(commitment)
    whole = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    import base64

    for name in names:
        record = load_record(GOLDEN / name)
        assert record.key.secret not in whole
        assert base64.b64encode(record.key.secret) not in whole
        assert record.slots[0].name.encode() not in whole
    with Registry(tmp_path / "r.db") as registry, pytest.raises(UnreadableRegistry):
        registry.content(two)


def test_keys_are_files_of_their_owner(tmp_path: Path) -> None:
    """Written once with mode 0600; refused where others can read them or they are something else; found by the environment."""
    path = tmp_path / "key"
    new_key_file(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(read_key_file(path)) == 32
    with pytest.raises(UsageError, match="never overwritten"):
        new_key_file(path)
    sealed = EncryptedVault(read_key_file(path)).seal(b"x", "p")
    found = vault_of(None, {KEY_VARIABLE: str(path)})
    assert found is not None
    assert found.open(sealed, "p") == b"x"
    assert vault_of(None, {}) is None
    path.chmod(0o640)
    with pytest.raises(UnreadableRegistry, match="others can read"):
        read_key_file(path)
    path.chmod(0o600)
    for content in (b"", b"x" * 64, b"0" * 63, b"0" * 2000, b"\xff" * 64):
        path.write_bytes(content)
        with pytest.raises(UnreadableRegistry):
            read_key_file(path)
    with pytest.raises(UnreadableRegistry):
        read_key_file(tmp_path / "none")
    with pytest.raises(UsageError):
        EncryptedVault(b"short")
