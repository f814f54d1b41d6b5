"""Text that cannot control a terminal."""

from __future__ import annotations


def escaped(text: str) -> str:
    """Return the text with control characters and half surrogates escaped."""
    return "".join(_escape(character) for character in text)


def _escape(character: str) -> str:
    if character in "\n\t" or character.isprintable():
        return character
    return character.encode("unicode_escape").decode("ascii")
