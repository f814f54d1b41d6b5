"""Texts given as strings, checked and completed with a pair or a target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from attncli.data import Text
from attncli.errors import UsageError
from attncli.inputs.text_files import check_text

Texts = str | Text | Sequence[str | Text]


def parse_texts(text: Texts, pair: str | None = None, target: str | None = None) -> list[Text]:
    """Return texts as `Text` objects; raise UsageError if there is none or one is empty."""
    given = [text] if isinstance(text, str | Text) else list(text)
    if not given:
        raise UsageError("there is no text to read: give at least one")
    texts = [one if isinstance(one, Text) else Text(one) for one in given]
    if (pair is not None or target is not None) and len(texts) > 1:
        option = "pair" if pair is not None else "target"
        raise UsageError(f"--{option} goes with one text, got {len(texts)}: run them one by one")
    if pair is not None:
        texts = [replace(texts[0], pair=pair)]
    if target is not None:
        texts = [replace(texts[0], target=target)]
    for one in texts:
        _check_not_empty(one)
    return texts


def _check_not_empty(text: Text) -> None:
    for name, value in (("text", text.text), ("pair", text.pair), ("target", text.target)):
        if value is None:
            continue
        check_text(f"--{name}", value)
        if not value.strip() and not text.messages:
            raise UsageError(f"--{name} is empty: give at least one word")
