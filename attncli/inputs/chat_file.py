"""Chats from JSON files."""

from __future__ import annotations

from pathlib import Path

from attncli.data import Text
from attncli.errors import UsageError, did_you_mean
from attncli.inputs.text_files import check_text, display_name, read_json, type_name


def read_chat(path: str | Path) -> Text:
    """Return a chat from a JSON file: a list of `{"role": …, "content": …}`, or an object with it as `messages`."""
    where, document = display_name(path), read_json(path)
    messages = document.get("messages") if isinstance(document, dict) else document
    if not isinstance(messages, list) or not messages:
        raise UsageError(f'{where}: expected a list of {{"role": …, "content": …}}, got {type_name(messages)}')
    checked = tuple(_check_message(f"{where}, message {n}", message) for n, message in enumerate(messages, start=1))
    return Text("\n".join(message["content"] for message in checked), messages=checked)


def _check_message(where: str, message: object) -> dict[str, str]:
    if not isinstance(message, dict):
        raise UsageError(f'{where}: expected {{"role": …, "content": …}}, got {type_name(message)}')
    for name in ("role", "content"):
        if name not in message:
            raise UsageError(f"{where} has no '{name}': {did_you_mean(name, message)}")
    for name, value in message.items():
        if not isinstance(value, str):
            raise UsageError(f"{where}: expected a text as '{name}', got {type_name(value)}")
        check_text(where, value)
    return dict(message)
