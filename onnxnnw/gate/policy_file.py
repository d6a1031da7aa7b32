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
from onnxnnw.gate.addresses import ADDRESS, NO_PASSWORDS, refuse_policy_address
from onnxnnw.gate.allowances import CONVERSIONS, FINDINGS, allowances_of
from onnxnnw.gate.policy import MODES, Bundle, Chained, Dated, Member, Policy, PolicyEntry
from onnxnnw.gate.requirements import (
    AllOf,
    AnyRecord,
    Committed,
    ExplainedShare,
    Findings,
    Identical,
    NoneOf,
    NotExpired,
    Requirement,
    Traced,
)
from onnxnnw.sources.addresses import is_repository

__all__ = ["FORMAT", "load_policy"]

FORMAT = "onnxnnw/policy/1"
MAX_BYTES, MAX_ENTRIES = 2**20, 1_000

_NEEDS_ALL = "needs the SHA-256 of the whole file, and what lies behind an address is read by range; fetch it"
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TOP = "format mode expires false-positive-rate others network bundle".split()
_ENTRY = (
    "name files records commitments require min-explained allow operators forbid mode expires attestations keys signed-by "
    "parent parent-signed-by reference registry committed-before timestamp tsa-roots proofs log-keys"
).split()
_NEVER_EMPTY = "files records keys attestations signed-by commitments tsa-roots proofs log-keys".split()
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
    bundles = tuple(_bundle(one, number, mode, networks) for number, one in enumerate(_tables(said, "bundle"), 1))
    for kind, given in (("network", names), ("bundle", [bundle.name for bundle in bundles])):
        if len(set(given)) < len(given):
            raise UsageError(f"two [[{kind}]] have one name")
    if not networks and not bundles:
        raise UsageError("names no [[network]] and no [[bundle]], so it would let anything pass")
    return Policy(path, sha256, mode, _until(said, "the policy"), float(rate), others, networks, bundles)


def _entry(said: dict[str, Any], number: int, mode: str) -> PolicyEntry:
    name = _text(said, "name", f"network {number}") or f"network {number}"
    _refuse_unknown(said, _ENTRY, name)
    named, records = _texts(said, "files", name), _texts(said, "records", name)
    files = tuple(one for one in named if not ADDRESS.match(one))
    addresses = tuple(_address(one, name) for one in named if ADDRESS.match(one))
    _refuse_addresses(said, ("records", "reference", "parent", "keys", "attestations", "signed-by"), name)
    registry = _registry(said, name)
    commitments = tuple(one.lower() for one in _texts(said, "commitments", name))
    if any(not _SHA256.fullmatch(one) for one in commitments):
        raise UsageError(f"{name}: commitments are SHA-256 of records, 64 hexadecimal digits each")
    attestations, keys = _texts(said, "attestations", name), _texts(said, "keys", name)
    if bool(attestations) != bool(keys):
        raise UsageError(f"{name}: attestations and keys go together: who has to have signed them?")
    if not records and not registry and not (attestations and commitments):
        raise UsageError(
            f"{name}: name records = [...], a registry, or attestations, keys and commitments: what does it have to come from?"
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
    _refuse_together(said, name, require == "none-of", bool(addresses))
    dated = _dated(said, name)
    parts: list[Requirement] = [Identical() if require == "identical" else Traced(), findings]
    parts += [ExplainedShare(float(share))] if share else []
    parts += [Committed(dated.before)] if dated is not None else []
    asked = [require + (f", explained {share:g} or more" if share else "")]
    asked += [f"allowed: {', '.join(allow)}"] if allow else []
    asked += [f"operators: {', '.join(operators)}"] if operators else []
    asked += [f"forbidden: {', '.join(forbid)}"] if forbid else []
    if dated is not None:
        asked += [f"committed before {dated.before:%Y-%m-%d %H:%M} UTC" if dated.before else "with a timestamp"]
    return PolicyEntry(
        name=name,
        files=files if addresses else _needed(files, f"{name}: files = [...]: which files does it speak of?"),
        addresses=addresses,
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
        registry=registry,
        dated=dated,
    )


def _address(text: str, where: str) -> str:
    """A file behind an address, or a repository, which a policy names whole and without secrets."""
    try:
        refuse_policy_address(text)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None
    return text


def _registry(said: Mapping[str, Any], where: str) -> str:
    place = _text(said, "registry", where)
    if "registry" in said and not place:
        raise UsageError(f"{where}: registry is empty; give a file or postgresql://host/name")
    if ADDRESS.match(place):
        if not place.startswith("postgresql://"):
            raise UsageError(
                f"{where}: a registry is a file or postgresql://…, not {place.partition('://')[0][:40]}://…"
            )
        if ":" in place.partition("://")[2].partition("/")[0].rpartition("@")[0] or "password=" in place:
            raise UsageError(f"{where}: {NO_PASSWORDS}; PGPASSWORD and ~/.pgpass are read")
    return place


def _dated(said: Mapping[str, Any], where: str) -> Dated | None:
    """By when the record must have existed, and whose word counts."""
    asked = said.get("timestamp", False)
    if not isinstance(asked, bool):
        raise UsageError(
            f"{where}: timestamp = true asks for one; committed-before = 2026-11-01 for one before that day"
        )
    before = _moment(said, "committed-before", where, datetime.time.min)
    roots, proofs, keys = (_texts(said, key, where) for key in ("tsa-roots", "proofs", "log-keys"))
    if before is None and not asked:
        idle = [key for key in ("tsa-roots", "proofs", "log-keys") if key in said]
        if idle:
            raise UsageError(f"{where}: {idle[0]} says nothing without committed-before or timestamp = true")
        return None
    if "timestamp" in said and not asked:
        raise UsageError(f"{where}: timestamp = false contradicts committed-before")
    if not roots:
        raise UsageError(f'{where}: tsa-roots = ["tsa.pem"]: whose timestamps count?')
    if bool(proofs) != bool(keys):
        raise UsageError(f"{where}: proofs and log-keys go together: which log do they have to be of?")
    if said.get("records") and not proofs:
        raise UsageError(
            f'{where}: records that are files need proofs = ["net.tlog-proof"] and log-keys = ["NAME+ID+KEY"]'
        )
    if keys:
        from onnxnnw.registry.log.checkpoints import VerifierKey

        try:
            for key in keys:
                VerifierKey.from_text(key)
        except UsageError as error:
            raise UsageError(f"{where}: log-keys: {error}") from None
    return Dated(before, roots, proofs, keys)


def _refuse_together(said: Mapping[str, Any], where: str, none_of: bool, remote: bool) -> None:
    """Refuse what contradicts each other, or would ask for what cannot be had."""
    for one, others, why in (
        ("registry", ("commitments",), "it knows the commitments of its records"),
        ("registry", ("attestations",), "a chain ends at commitments, and a registry is searched where it can be read"),
        ("registry", ("reference",), "the reference is of one network; name its record by records"),
        ("committed-before", ("attestations",), "timestamps are looked at where the record is"),
        ("timestamp", ("attestations",), "timestamps are looked at where the record is"),
    ):
        clash = [other for other in others if one in said and other in said]
        if clash:
            raise UsageError(f"{where}: {one} does not go with {clash[0]}: {why}")
    dates = [key for key in ("committed-before", "timestamp") if key in said]
    if none_of and dates:
        raise UsageError(f"{where}: {dates[0]} means nothing with none-of, where no record may match")
    whole = [key for key in ("attestations", "signed-by") if key in said]
    if remote and whole:
        raise UsageError(f"{where}: {whole[0]} {_NEEDS_ALL}")


def _refuse_addresses(said: Mapping[str, Any], keys: Sequence[str], where: str) -> None:
    for key in keys:
        given = said.get(key, "")
        for one in given if isinstance(given, list) else [given]:
            if isinstance(one, str) and ADDRESS.match(one):
                raise UsageError(f"{where}: {key} are files on this disk; only files = [...] are read behind addresses")


def _bundle(said: dict[str, Any], number: int, mode: str, networks: Sequence[PolicyEntry]) -> Bundle:
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
        if ADDRESS.match(member.path):
            _refuse_remote_member(member, networks, name)
        if not member.path or bool(member.network) == bool(member.sha256):
            raise UsageError(f"{name}: a file has a path, and either network or sha256")
        if member.network and member.network not in (names := [entry.name for entry in networks]):
            raise UsageError(
                f"{name}: no [[network]] is called {member.network[:60]!r}; there are {', '.join(names) or 'none'}"
            )
        if member.sha256 and not _SHA256.fullmatch(member.sha256):
            raise UsageError(f"{name}: {member.path[:80]}: a sha256 has 64 hexadecimal digits, in lower case")
        members.append(member)
    if len({member.path for member in members}) < len(members):
        raise UsageError(f"{name}: a file stands in it twice")
    return Bundle(name, tuple(members), _mode(said, mode, name), NotExpired(_until(said, name)))


def _refuse_remote_member(member: Member, networks: Sequence[PolicyEntry], where: str) -> None:
    _address(member.path, where)
    if is_repository(member.path):
        raise UsageError(f"{where}: {member.path[:80]} names a repository; a bundle names files: hf://owner/name/path")
    entry = next((one for one in networks if one.name == member.network), None)
    if entry is not None and (entry.signed_by or entry.chained):
        key = "signed-by" if entry.signed_by else "attestations"
        raise UsageError(f"{where}: {member.path[:80]}: {key} of {entry.name} {_NEEDS_ALL}")


def _tables(said: dict[str, Any], key: str) -> list[dict[str, Any]]:
    given = said.get(key, [])
    if not isinstance(given, list) or not all(isinstance(one, dict) for one in given) or len(given) > MAX_ENTRIES:
        raise UsageError(f"{key} is a list of at most {MAX_ENTRIES:,} tables, [[{key}]]")
    return given


def _refuse_unknown(said: Mapping[str, Any], known: Sequence[str], where: str) -> None:
    for key in said:
        if key not in known:
            raise UsageError(f"{where}: {key[:60]!r} means nothing here; there are {', '.join(known)}")


def _mode(said: Mapping[str, Any], default: str, where: str) -> str:
    mode = said.get("mode", default)
    if mode not in MODES:
        raise UsageError(f"{where}: mode is {', '.join(MODES)}, not {str(mode)[:40]!r}")
    return str(mode)


def _until(said: Mapping[str, Any], where: str) -> datetime.datetime | None:
    """The last moment: a day counts until it is over in UTC."""
    return _moment(said, "expires", where, datetime.time.max)


def _moment(said: Mapping[str, Any], key: str, where: str, of_day: datetime.time) -> datetime.datetime | None:
    given = said.get(key)
    if given is None:
        return None
    if isinstance(given, datetime.datetime):
        return (given if given.tzinfo else given.replace(tzinfo=datetime.UTC)).astimezone(datetime.UTC)
    if isinstance(given, datetime.date):
        return datetime.datetime.combine(given, of_day, datetime.UTC)
    raise UsageError(f"{where}: {key} is a date without quotation marks, as 2027-06-30")


def _text(said: Mapping[str, Any], key: str, where: str) -> str:
    given = said.get(key, "")
    if not isinstance(given, str) or "\0" in given:
        raise UsageError(f"{where}: {key} is a text")
    return given


def _texts(said: Mapping[str, Any], key: str, where: str) -> tuple[str, ...]:
    given = said.get(key, [])
    if not isinstance(given, list) or not all(isinstance(one, str) and one and "\0" not in one for one in given):
        raise UsageError(f"{where}: {key} is a list of texts")
    if key in said and not given and key in _NEVER_EMPTY:
        raise UsageError(f"{where}: {key} is empty, so nothing could meet it")
    return tuple(given)


def _needed(given: tuple[str, ...], message: str) -> tuple[str, ...]:
    if not given:
        raise UsageError(message)
    return given
