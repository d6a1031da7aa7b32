"""Fields of an object from a file, with a check of each field's type."""

from collections.abc import Mapping
from typing import Any

from onnxnnw.errors import UnreadableData
from onnxnnw.texts import visible

__all__ = ["Fields", "Numbers"]

MAX_TEXT = 200
MAX_NUMBERS = 64

Numbers = Mapping[str, float]


class Fields:
    """The fields of a JSON object, each asked for with the type it has to have.

    Args:
        content: The object.
        place: Where it stands, for messages.

    Raises:
        UnreadableData: It is no object.
    """

    def __init__(self, content: Any, place: str) -> None:
        if not isinstance(content, dict):
            raise UnreadableData(f"{place}: an object is wanted here, not {_shown(content)}")
        self.content: dict[str, Any] = content
        self.place = place

    def wrong(self, name: str, wanted: str) -> UnreadableData:
        """The error that says what was wanted of a field and what came."""
        came = _shown(self.content[name]) if name in self.content else "nothing"
        return UnreadableData(f"{self.place}: {name!r} has to be {wanted}, not {came}")

    def text(self, name: str, default: str | None = None) -> str:
        """A short text."""
        value = self.content.get(name, default)
        if not isinstance(value, str) or len(value) > MAX_TEXT:
            raise self.wrong(name, f"a text of at most {MAX_TEXT} characters")
        return visible(value)

    def flag(self, name: str) -> bool:
        """True or false."""
        value = self.content.get(name)
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false")
        return value

    def number(self, name: str) -> float:
        """A finite number."""
        value = self.maybe(name)
        if value is None:
            raise self.wrong(name, "a number")
        return value

    def maybe(self, name: str) -> float | None:
        """A finite number, or None where there is null or nothing."""
        value = self.content.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e300:
            raise self.wrong(name, "a number")
        return float(value)

    def count(self, name: str) -> int:
        """A whole number from 0."""
        value = self.maybe_count(name)
        if value is None:
            raise self.wrong(name, "a whole number from 0")
        return value

    def maybe_count(self, name: str) -> int | None:
        """A whole number from 0, or None where there is null or nothing."""
        value = self.content.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
            raise self.wrong(name, "a whole number from 0")
        return value

    def inner(self, name: str) -> "Fields":
        """The object in a field."""
        return Fields(self.content.get(name), f"{self.place}: {name!r}")

    def has(self, name: str) -> bool:
        """Whether there is something, null not counted."""
        return self.content.get(name) is not None

    def numbers(self, name: str, strict: bool = True) -> Numbers:
        """An object of numbers; nothing is an empty one. Unless strict, texts and whatever else is no number are left out."""
        if not self.has(name):
            return {}
        inner = self.inner(name)
        if len(inner.content) > MAX_NUMBERS or any(len(key) > MAX_TEXT for key in inner.content):
            raise self.wrong(name, f"an object of at most {MAX_NUMBERS} numbers")
        kept = {k: v for k, v in inner.content.items() if strict or _is_number(v)}
        return {visible(key): inner.number(key) for key, value in kept.items() if value is not None}

    def texts(self, name: str) -> tuple[tuple[str, str], ...]:
        """An object of short texts, as pairs in order; a text may stand alone."""
        value = self.content.get(name)
        if value is None:
            return ()
        if isinstance(value, str):
            return (("environment", self.text(name)),)
        inner = self.inner(name)
        if len(inner.content) > MAX_NUMBERS:
            raise self.wrong(name, f"an object of at most {MAX_NUMBERS} texts")
        pairs = ((key[:MAX_TEXT], str(text)[:MAX_TEXT]) for key, text in inner.content.items() if text)
        return tuple(sorted((visible(key), visible(text)) for key, text in pairs))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
