"""Chats as text: messages rendered by the tokenizer's chat template, and the role of each token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attncli.data import Text, Tokens
from attncli.errors import ModelError, UsageError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ASSISTANT = "assistant"


def render_chat(tokenizer: PreTrainedTokenizerBase, text: Text, turns: int | None = None, answer: bool = False) -> str:
    """Return the first `turns` messages of a chat (None: all) as text, by the chat template of the tokenizer.

    answer  whether to open the turn of the assistant, so that the model can write it; if the last message is from the
            assistant, its turn stays open instead, so that the model continues it
    """
    if not getattr(tokenizer, "chat_template", None):
        raise ModelError("this tokenizer has no chat template; give --text instead of --chat")
    messages = [dict(message) for message in text.messages[:turns]]
    continues = answer and messages[-1]["role"] == ASSISTANT
    options: dict[str, Any] = {"add_generation_prompt": answer and not continues, "continue_final_message": continues}
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, **options))
    except Exception as error:  # a template is a program of the model's author and may raise anything
        raise UsageError(f"the model's chat template refuses these messages: {error}") from error


def chat_segments(
    tokenizer: PreTrainedTokenizerBase, text: Text, rendered: str, tokens: Tokens, answer: bool = False
) -> tuple[str, ...]:
    """Return the role of each token, found by rendering the first 1, 2, … messages.

    answer  whether the text after the last message opens the turn of the assistant
    """
    ends = []
    for turn in range(1, len(text.messages) + 1):
        try:
            part = render_chat(tokenizer, text, turn)
        except UsageError:
            part = ""  # some templates refuse a single message: its tokens get the role of the next one
        ends.append(_common_prefix_length(part, rendered))
    roles = [message["role"] for message in text.messages]
    last = ASSISTANT if answer else roles[-1]
    return tuple(
        "" if start < 0 else next((role for role, end in zip(roles, ends, strict=True) if start < end), last)
        for start, _ in tokens.offsets.tolist()
    )


def _common_prefix_length(a: str, b: str) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
