"""A policy from its file, checked: what is unknown, contradictory or empty is refused before anything is examined."""

import datetime
import hashlib
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onnxnnw.errors import UnreadableData, UsageError
from onnxnnw.files import read_regular
from onnxnnw.gate.allowances import CONVERSIONS, FINDINGS, allowances_of
from onnxnnw.gate.policy import MODES, Bundle, Chained, Entry, Member, Policy
from onnxnnw.gate.requirements import (
    AllOf,
    AnyRecord,
    Explained,
    Findings,
    Identical,
    NoneOf,
    NotExpired,
    Requirement,
    Traced,
)

__all__ = ["FORMAT", "LATER", "load_policy"]

FORMAT = "onnxnnw/policy/1"
MAX_BYTES, MAX_ENTRIES = 2**20, 1_000

LATER: Mapping[str, str] = {
    "registry": "records are named by records = [...]; a registry cannot be named in a policy yet",
    "timestamp": "timestamps of commitments are not checked by a policy yet; name commitments = [...]",
    "committed-before": "timestamps of commitments are not checked by a policy yet; name commitments = [...]",
    "addresses": "files at addresses are not fetched by a policy yet; fetch them first and name files = [...]",
}
"""What a policy will be able to say once other parts of the package can do it, and until then is refused with a sentence. To add
one: take it out here, and read it in ``_entry``."""

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TOP = "format mode expires false-positive-rate others network bundle".split()
_ENTRY = (
    "name files records commitments require min-explained allow operators forbid mode expires attestations keys signed-by "
    "parent parent-signed-by reference"
).split()
_BUNDLE = "name files mode expires".split()
_MEMBER = "path network sha256".split()


def load_policy(path: Path) -> Policy:
    """A policy from its file.

    Raises:
        UnreadableData: The file cannot be read.
        UsageError: It says something impossible, unknown, or nothing; the message says where.
    """
    content = read_regular(path, UnreadableData, MAX_BYTES)
    try:
        said = tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not TOML: {str(error)[:200]}") from None
    if said.get("format") != FORMAT:
        raise UsageError(f'{path}: a policy begins with format = "{FORMAT}"')
    try:
        return _policy(said, path, hashlib.sha256(content).hexdigest())
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def _policy(said: dict[str, Any], path: Path, sha256: str) -> Policy:
    _refuse_unknown(said, _TOP, "the policy")
    mode = _mode(said, "enforce", "the policy")
    rate = said.get("false-positive-rate", 1e-6)
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < 1:
        raise UsageError(f"false-positive-rate lies between 0 and 1, not at {str(rate)[:40]}")
    others = said.get("others", "refuse")
    if others not in ("refuse", "ignore"):
        raise UsageError(
            f'others = "refuse" or "ignore": what becomes of networks that no entry names; not {str(others)[:40]!r}'
        )
    networks = tuple(_entry(one, number, mode) for number, one in enumerate(_tables(said, "network"), 1))
    names = [entry.name for entry in networks]
    bundles = tuple(_bundle(one, number, mode, names) for number, one in enumerate(_tables(said, "bundle"), 1))
    for kind, given in (("network", names), ("bundle", [bundle.name for bundle in bundles])):
        if len(set(given)) < len(given):
            raise UsageError(f"two [[{kind}]] have one name")
    if not networks and not bundles:
        raise UsageError("names no [[network]] and no [[bundle]], so it would let anything pass")
    return Policy(path, sha256, mode, _until(said, "the policy"), float(rate), others, networks, bundles)


def _entry(said: dict[str, Any], number: int, mode: str) -> Entry:
    name = _text(said, "name", f"network {number}") or f"network {number}"
    _refuse_unknown(said, _ENTRY, name)
    files, records = _texts(said, "files", name), _texts(said, "records", name)
    for given in (*files, *records):
        if _ADDRESS.match(given):
            raise UsageError(f"{name}: {given[:80]}: {LATER['addresses']}")
    commitments = tuple(one.lower() for one in _texts(said, "commitments", name))
    if any(not _SHA256.fullmatch(one) for one in commitments):
        raise UsageError(f"{name}: commitments are SHA-256 of records, 64 hexadecimal digits each")
    attestations, keys = _texts(said, "attestations", name), _texts(said, "keys", name)
    if bool(attestations) != bool(keys):
        raise UsageError(f"{name}: attestations and keys go together: who has to have signed them?")
    if not records and not (attestations and commitments):
        raise UsageError(
            f"{name}: name records = [...], or attestations, keys and commitments: what does it have to come from?"
        )
    require = said.get("require")
    if require not in ("traced", "identical", "none-of"):
        raise UsageError(f'{name}: require = "traced", "identical" or "none-of", not {str(require)[:40]!r}')
    allow, forbid, operators = (_texts(said, key, name) for key in ("allow", "forbid", "operators"))
    unknown = [one for one in forbid if one not in FINDINGS]
    if unknown:
        raise UsageError(
            f"{name}: forbid: no finding has the id {unknown[0][:60]!r}; there are {', '.join(sorted(FINDINGS))}"
        )
    try:
        allowed = allowances_of(allow)
    except UsageError as error:
        raise UsageError(f"{name}: allow: {error}") from None
    findings = Findings(allowed, tuple(one for one in allow if one in CONVERSIONS), operators, forbid)
    share = said.get("min-explained", 0.0)
    if isinstance(share, bool) or not isinstance(share, int | float) or not (math.isfinite(share) and 0 <= share <= 1):
        raise UsageError(f"{name}: min-explained lies between 0 and 1, not at {str(share)[:40]}")
    idle = [key for key in ("allow", "forbid", "operators", "min-explained", "attestations") if key in said]
    if require == "none-of" and idle:
        raise UsageError(f"{name}: {idle[0]} means nothing with none-of, where no record may match")
    parent, parent_keys = _text(said, "parent", name), _texts(said, "parent-signed-by", name)
    if bool(parent) != bool(parent_keys):
        raise UsageError(f"{name}: parent and parent-signed-by go together")
    reference = _text(said, "reference", name)
    if reference and not records:
        raise UsageError(f"{name}: reference goes with records = [...]: in its order of channels they are looked for")
    if _ADDRESS.match(reference):
        raise UsageError(f"{name}: {reference[:80]}: {LATER['addresses']}")
    parts: list[Requirement] = [Identical() if require == "identical" else Traced(), findings]
    parts += [Explained(float(share))] if share else []
    asked = [require + (f", explained {share:g} or more" if share else "")]
    asked += [f"allowed: {', '.join(allow)}"] if allow else []
    asked += [f"operators: {', '.join(operators)}"] if operators else []
    asked += [f"forbidden: {', '.join(forbid)}"] if forbid else []
    return Entry(
        name=name,
        files=_needed(files, f"{name}: files = [...]: which files does it speak of?"),
        records=records,
        commitments=commitments,
        require=NoneOf() if require == "none-of" else AnyRecord(AllOf(tuple(parts))),
        findings=findings,
        asked="; ".join(asked),
        full=require == "identical",
        mode=_mode(said, mode, name),
        expires=NotExpired(_until(said, name)),
        chained=Chained(attestations, keys, commitments) if attestations else None,
        signed_by=_texts(said, "signed-by", name),
        parent=parent,
        parent_signed_by=parent_keys,
        reference=reference,
    )


def _bundle(said: dict[str, Any], number: int, mode: str, networks: Sequence[str]) -> Bundle:
    name = _text(said, "name", f"bundle {number}") or f"bundle {number}"
    _refuse_unknown(said, _BUNDLE, name)
    files = said.get("files")
    if not isinstance(files, list) or not files or not all(isinstance(one, dict) for one in files):
        raise UsageError(
            f'{name}: files = [{{ path = "a.onnx", network = "NAME" }}, {{ path = "b.json", sha256 = "…" }}]'
        )
    members = []
    for one in files:
        _refuse_unknown(one, _MEMBER, name)
        member = Member(*(_text(one, key, name) for key in _MEMBER))
        if not member.path or bool(member.network) == bool(member.sha256):
            raise UsageError(f"{name}: a file has a path, and either network or sha256")
        if member.network and member.network not in networks:
            raise UsageError(
                f"{name}: no [[network]] is called {member.network[:60]!r}; there are {', '.join(networks) or 'none'}"
            )
        if member.sha256 and not _SHA256.fullmatch(member.sha256):
            raise UsageError(f"{name}: {member.path[:80]}: a sha256 has 64 hexadecimal digits, in lower case")
        members.append(member)
    if len({member.path for member in members}) < len(members):
        raise UsageError(f"{name}: a file stands in it twice")
    return Bundle(name, tuple(members), _mode(said, mode, name), NotExpired(_until(said, name)))


def _tables(said: dict[str, Any], key: str) -> list[dict[str, Any]]:
    given = said.get(key, [])
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given) or len(given) > MAX_ENTRIES:
        raise UsageError(f"{key} is a list of at most {MAX_ENTRIES:,} tables, [[{key}]]")
    return given


def _refuse_unknown(said: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in said:
        if key in LATER:
            raise UsageError(f"{where}: {key}: {LATER[key]}")
        if key not in known:
            raise UsageError(f"{where}: {key[:60]!r} means nothing here; there are {', '.join(known)}")


def _mode(said: Mapping[str, Any], default: str, where: str) -> str:
    mode = said.get("mode", default)
    if mode not in MODES:
        raise UsageError(f"{where}: mode is {', '.join(MODES)}, not {str(mode)[:40]!r}")
    return str(mode)


def _until(said: Mapping[str, Any], where: str) -> datetime.datetime | None:
    """The last moment: a day counts until it is over in UTC."""
    given = said.get("expires")
    if given is None:
        return None
    if isinstance(given, datetime.datetime):
        return (given if given.tzinfo else given.replace(tzinfo=datetime.UTC)).astimezone(datetime.UTC)
    if isinstance(given, datetime.date):
        return datetime.datetime.combine(given, datetime.time.max, datetime.UTC)
    raise UsageError(f"{where}: expires is a date without quotation marks, as 2027-06-30")


def _text(said: Mapping[str, Any], key: str, where: str) -> str:
    given = said.get(key, "")
    if not isinstance(given, str) or "\0" in given:
        raise UsageError(f"{where}: {key} is a text")
    return given


def _texts(said: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    given = said.get(key, [])
    if not isinstance(given, list) or not all(isinstance(one, str) and one and "\0" not in one for one in given):
        raise UsageError(f"{where}: {key} is a list of texts")
    if key in said and not given and key in ("files", "records", "keys", "attestations", "signed-by", "commitments"):
        raise UsageError(f"{where}: {key} is empty, so nothing could meet it")
    return tuple(given)


def _needed(given: tuple[str, ...], message: str) -> tuple[str, ...]:
    if not given:
        raise UsageError(message)
    return given
