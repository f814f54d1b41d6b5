"""The texts that the input options name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attncli.cli.console import print_note
from attncli.errors import UsageError
from attncli.inputs.corpus_files import is_corpus
from attncli.options import InputOptions, key
from attncli.vocabulary import TEXT_SOURCES

if TYPE_CHECKING:
    from attncli.data import Text
    from attncli.inputs.corpus import Corpus

_ONLY_WITH = {
    "column": ("file", "dataset"),
    "on_error": ("file", "dataset"),
    "split": ("dataset",),
    "streaming": ("dataset",),
}
"""Options that need one of others, which name where the texts come from."""
_NEVER_WITH = {"file": ("pair", "target"), "dataset": ("pair", "target"), "chat": ("pair",)}


def read_input(options: InputOptions, read: Corpus | None = None) -> list[Text]:
    """Return the texts; raise UsageError if there are none, or if ways to give them exclude each other.

    read  the corpus that the options name, or that of their plain file, if it has been read already
    """
    from attncli.inputs.texts import one_text_note, parse_texts, read_chat, read_texts, read_whole_text

    corpus = corpus_of(options) if read is None else read
    notes: list[str] = []
    if corpus is not None:
        texts = corpus.texts()
        notes += (*corpus.notes, *corpus.survey().notes)
    elif options.file is not None:
        texts = parse_texts(list(read_texts(options.file, options.column)))
    if options.file is not None and is_plain(options):
        notes += filter(None, [one_text_note(options.file, texts)])
    for note in notes:
        print_note(note)
    if corpus is not None or options.file is not None:
        return texts
    if options.text_file is not None:
        return parse_texts(read_whole_text(options.text_file), options.pair, options.target)
    if options.chat is not None:
        return parse_texts(read_chat(options.chat), target=options.target)
    return parse_texts(options.text or [], options.pair, options.target)


def corpus_of(options: InputOptions) -> Corpus | None:
    """Return the corpus that the options name; None if they name texts, stdin, or one file that is read whole.

    Raise UsageError if ways to give texts exclude each other, or there is none.
    """
    from attncli.inputs.corpus import Corpus

    _check_sources(options)
    if options.dataset is not None:
        arguments = options.column, options.on_error, options.streaming
        return Corpus.of_dataset(options.dataset, options.split, *arguments)
    if options.file is None or is_plain(options):
        return None
    if options.file == "-":
        raise UsageError("--on-error goes with files, not with stdin: save the texts as a file first")
    return Corpus.of_files(options.file, options.column, options.on_error)


def is_plain(options: InputOptions) -> bool:
    """Return whether the texts are those of one file that is read as a whole, or of stdin."""
    return options.file is not None and options.on_error == "stop" and not is_corpus(options.file)


def _check_sources(options: InputOptions) -> None:
    """Raise UsageError unless exactly one option gives the texts, and those that go with it are given."""
    sources = [name for name in TEXT_SOURCES if getattr(options, name) is not None]
    if not sources:
        raise UsageError('there is no text to read: give --text "…", or --file PATH (--file - is stdin)')
    if len(sources) > 1:
        raise UsageError(f"--{key(sources[0])} and --{key(sources[1])} exclude each other: give one of them")
    defaults = InputOptions()
    for name, others in _ONLY_WITH.items():
        if getattr(options, name) != getattr(defaults, name) and sources[0] not in others:
            needed, it = " or ".join(f"--{key(other)}" for other in others), "one of them" if others[1:] else "it"
            raise UsageError(f"--{key(name)} goes with {needed}: give {it} too")
    for name in _NEVER_WITH.get(sources[0], ()):
        if getattr(options, name) is not None:
            raise UsageError(f"--{name} goes with --text, not with --{sources[0]}: leave one of them out")
