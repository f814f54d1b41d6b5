"""Texts from the options of the command line."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from attncli.errors import UsageError
from attncli.options import InputOptions

if TYPE_CHECKING:
    from attncli.data import Text


def read_input(options: InputOptions) -> list[Text]:
    """Return the texts; raise UsageError if there are none, or if ways to give them exclude each other."""
    from attncli.inputs.texts import parse_texts, read_chat, read_texts

    sources = [name for name in ("text", "file", "chat") if getattr(options, name) is not None]
    if not sources:
        raise UsageError('there is no text to read: give --text "…", or --file PATH (--file - is stdin)')
    if len(sources) > 1:
        raise UsageError(f"--{sources[0]} and --{sources[1]} exclude each other: give one of them")
    if options.column is not None and options.file is None:
        raise UsageError("--column names a column of a file: give --file too")
    if options.file is not None:
        _refuse(options, "--file", ("pair", "target"))
        return parse_texts(list(read_texts(options.file, options.column)))
    if options.chat is not None:
        _refuse(options, "--chat", ("pair",))
        return parse_texts(read_chat(options.chat), target=options.target)
    return parse_texts(options.text or [], options.pair, options.target)


def _refuse(options: InputOptions, source: str, names: Iterable[str]) -> None:
    for name in names:
        if getattr(options, name) is not None:
            raise UsageError(f"--{name} goes with --text, not with {source}: leave one of them out")
