"""The structured fields of a record's document: the account and the keys."""

import base64
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from onnxnnw.errors import UnreadableRecord
from onnxnnw.records.canonical_json import canonical, integer, text
from onnxnnw.records.key import SECRET_BYTES, Key

__all__ = ["MAX_TENSORS", "EnrolledAccount", "account_bytes", "account_from_json", "key_from_json", "positions_key_of"]

MAX_TENSORS = 10_000


class EnrolledAccount(dict[str, Any]):
    """What was stored in a network at enrolment, of a record that was read."""

    @cached_property
    def canonical(self) -> bytes:
        """As it stands in the record."""
        return canonical(dict(self))


def account_bytes(account: Mapping[str, Any]) -> bytes:
    """An account as it stands in the record."""
    return account.canonical if isinstance(account, EnrolledAccount) else canonical(dict(account))


def account_from_json(document: Any) -> EnrolledAccount:
    """What a record keeps of everything that was stored: numbers by kind, operators, the graph, parameters."""
    amounts = {text(kind): integer(amount) for kind, amount in document["amounts"].items()}
    operators = {text(name): integer(count) for name, count in document["operators"].items()}
    parameters: list[dict[str, Any]] = [
        {"name": text(one["name"]), "size": integer(one["size"]), "slot": integer(one["slot"])}
        for one in document["parameters"]
    ]
    if min([0, *amounts.values(), *operators.values()]) < 0 or any(not 0 < one["size"] < 2**40 for one in parameters):
        raise UnreadableRecord("an account with impossible numbers")
    if set(document) != {"amounts", "operators", "parameters"} or len(parameters) > MAX_TENSORS:
        raise UnreadableRecord("an account with unknown fields")
    return EnrolledAccount(amounts=amounts, operators=operators, parameters=parameters)


def key_from_json(packed: str) -> Key:
    """A secret in base64."""
    secret = base64.b64decode(packed, validate=True)
    if len(secret) != SECRET_BYTES:
        raise UnreadableRecord("a secret of another length")
    return Key(secret)


def positions_key_of(document: Any) -> Key | None:
    """The shared secret of the positions; it is checked against the bound digest when the record is serialised again."""
    if "recipient" not in document["bound"]:
        return None  # a secret alone would be passed over, which nothing in a file is
    if integer(document["bound"]["recipient"]["version"]) != 1:
        raise UnreadableRecord("a recipient's record of a later version than this program knows")
    return key_from_json(document["positions_secret"])
