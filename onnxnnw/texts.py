"""Make texts from files, names and messages visible, so that they cannot control a terminal or disguise themselves."""

__all__ = ["visible"]


def visible(text: str, longest: int | None = None) -> str:
    """Escape what has no glyph: control characters, bidirectional overrides, zero-width characters, lone surrogates.

    Args:
        longest: Characters after which the rest is left out; all by default.
    """
    if not text.isprintable():
        text = "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
    return text if longest is None else text[:longest]
