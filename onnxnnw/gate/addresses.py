"""Addresses in policies and on the command line: which entry names which, and the files of a repository at one commit."""

import re

from onnxnnw.errors import CannotLook, UsageError
from onnxnnw.sources.addresses import address_of, hub_parts, is_repository
from onnxnnw.sources.answers import Refused
from onnxnnw.sources.hub import networks_of

__all__ = ["ADDRESS", "NO_PASSWORDS", "Repositories", "names", "refuse_policy_address"]

ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
NO_PASSWORDS = "a policy is no place for a password: give it by the environment"


def refuse_policy_address(text: str) -> None:
    """Refuse an address that a policy cannot hold.

    Raises:
        UsageError: It is none, stands for several files, or holds a password.
    """
    if "*" in text:
        raise UsageError("an address stands for one file, or for a repository of the hub, without *")
    if "@" in text.partition("://")[2].partition("/")[0]:
        raise UsageError(NO_PASSWORDS)
    if is_repository(text):
        return
    address_of(text)


def names(named: str, given: str) -> bool:
    """Whether an address of a policy speaks of an address of a file; one without a revision speaks of all of them.

    Args:
        named: In the policy: a file, or a repository.
        given: A file.
    """
    if not (named.lower().startswith("hf://") and given.lower().startswith("hf://")):
        return not is_repository(named) and address_of(named).shown == address_of(given).shown
    owner, name, revision, path = hub_parts(named)
    *there, at, file = hub_parts(given)
    return [owner, name] == there and revision in ("", at) and bool(file) and path in ("", file)


class Repositories:
    """The networks in repositories of the hub: each is asked once, so that all entries see one commit of it."""

    def __init__(self) -> None:
        self._known: dict[str, list[str] | CannotLook] = {}

    def files(self, text: str) -> list[str] | CannotLook:
        """Addresses of its networks, or why there are none."""
        if text not in self._known:
            try:
                self._known[text] = list(networks_of(text))
            except CannotLook as error:
                self._known[text] = error
            except UsageError as error:  # it holds no network
                self._known[text] = Refused(str(error))
        return self._known[text]
