"""Chat messages through the tokenizer's own template, and whose turn each piece is."""

from __future__ import annotations

from typing import Any

from attncli.data import Text, Tokens
from attncli.errors import ModelError, UsageError

ASSISTANT = "assistant"


def render_chat(tokenizer: Any, text: Text, turns: int | None = None, answer: bool = False) -> str:
    """The first turns of a chat (all where None) as the model was taught to read them.

    answer  whether the assistant's turn is opened, so that the model writes what it says; where the last turn is the
            assistant's, it is left open to be gone on with
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ModelError("this tokenizer has no chat template; give --text instead of --chat")
    messages = [dict(message) for message in text.messages[:turns]]
    goes_on = answer and messages[-1]["role"] == ASSISTANT
    opened = {"add_generation_prompt": answer and not goes_on, "continue_final_message": goes_on}
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, **opened))
    except Exception as error:  # templates are programs of the model's author and raise what they like
        raise UsageError(f"the model's chat template refuses these messages: {error}") from error


def chat_segments(tokenizer: Any, text: Text, rendered: str, tokens: Tokens, answer: bool = False) -> tuple[str, ...]:
    """The role whose turn each piece belongs to, found by rendering the first 1, 2, … turns.

    answer  whether what comes after the last turn opens the assistant's
    """
    ends = []
    for turn in range(1, len(text.messages) + 1):
        try:
            part = render_chat(tokenizer, text, turn)
        except UsageError:
            part = ""  # some templates accept no single turn: its pieces go to the next one that renders
        ends.append(_common_prefix(part, rendered))
    roles = [message["role"] for message in text.messages]
    last = ASSISTANT if answer else roles[-1]
    return tuple(
        "" if start < 0 else next((role for role, end in zip(roles, ends, strict=True) if start < end), last)
        for start, _ in tokens.offsets.tolist()
    )


def _common_prefix(one: str, other: str) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
