"""The owner of a mark: free texts, and one of the standard's roles [NNW-TEC 5.2.2]."""

from dataclasses import dataclass

from onnxnnw.errors import UnknownName, UsageError
from onnxnnw.records.record import ROLES

__all__ = ["Owner"]


@dataclass(frozen=True)
class Owner:
    """The owner of a mark: free texts, and one of the standard's roles [NNW-TEC 5.2.2], in any letter case.

    Raises:
        UsageError: The role is none of the standard's, or a text cannot be written as UTF-8.
    """

    actor: str = ""
    role: str = ""
    source_id: str = ""
    destination_id: str = ""

    def __post_init__(self) -> None:
        for name in ("actor", "source_id", "destination_id"):
            try:
                getattr(self, name).encode()
            except UnicodeEncodeError:
                raise UsageError(f"the {name.replace('_', ' ')} is no text in UTF-8: {getattr(self, name)!r}") from None
        if self.role:
            roles = {role.lower(): role for role in ROLES}
            if self.role.lower() not in roles:
                raise UnknownName("role", self.role, ROLES)
            object.__setattr__(self, "role", roles[self.role.lower()])
