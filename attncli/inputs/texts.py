"""Texts as a user gives them become texts as a model takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from attncli.data import Text
from attncli.errors import UsageError
from attncli.inputs.text_files import check_text

Texts = str | Text | Sequence[str | Text]


def parse_texts(text: Texts, pair: str | None = None, target: str | None = None) -> list[Text]:
    """Texts as a model takes them; an empty one is a `UsageError`."""
    several = [text] if isinstance(text, str | Text) else list(text)
    if not several:
        raise UsageError("there is no text to read: give at least one")
    if (pair is not None or target is not None) and len(several) > 1:
        what = "pair" if pair is not None else "target"
        raise UsageError(f"--{what} goes with one text, got {len(several)}: run them one by one")
    found = [one if isinstance(one, Text) else Text(one) for one in several]
    if pair is not None:
        found = [replace(found[0], pair=pair)]
    if target is not None:
        found = [replace(found[0], target=target)]
    for one in found:
        _check_text(one)
    return found


def _check_text(text: Text) -> None:
    for name, value in (("text", text.text), ("pair", text.pair), ("target", text.target)):
        if value is None:
            continue
        check_text(f"--{name}", value)
        if not value.strip() and not text.messages:
            raise UsageError(f"--{name} is empty: give at least one word")
