"""Chat messages through the tokenizer's own template, and whose turn each piece is."""

from __future__ import annotations

from typing import Any

from attncli.data import Text, Tokens
from attncli.errors import ModelError, UsageError


def render_chat(tokenizer: Any, text: Text, turns: int | None = None) -> str:
    if not getattr(tokenizer, "chat_template", None):
        raise ModelError("this tokenizer has no chat template; give --text instead of --chat")
    messages = [dict(message) for message in text.messages[:turns]]
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False))
    except Exception as error:  # templates are programs of the model's author and raise what they like
        raise UsageError(f"the model's chat template refuses these messages: {error}") from error


def chat_segments(tokenizer: Any, text: Text, rendered: str, tokens: Tokens) -> tuple[str, ...]:
    """The role whose turn each piece belongs to, found by rendering the first 1, 2, … turns."""
    ends = []
    for turn in range(1, len(text.messages) + 1):
        try:
            part = render_chat(tokenizer, text, turn)
        except UsageError:
            part = ""  # some templates accept no single turn: its pieces go to the next one that renders
        ends.append(_common_prefix(part, rendered))
    roles = [message["role"] for message in text.messages]
    return tuple(
        "" if start < 0 else next((role for role, end in zip(roles, ends, strict=True) if start < end), roles[-1])
        for start, _ in tokens.offsets.tolist()
    )


def _common_prefix(one: str, other: str) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
