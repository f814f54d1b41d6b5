"""The corpus that the input options name, if it has more texts than are kept in memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attncli.cli.console import print_note
from attncli.cli.read_input import corpus_of
from attncli.errors import UsageError
from attncli.options import InputOptions
from attncli.vocabulary import CORPUS_TEXTS

if TYPE_CHECKING:
    from attncli.engine.progress import Track
    from attncli.inputs.corpus import Corpus


def large_corpus(options: InputOptions, track: Track, needs_texts: str) -> Corpus | None:
    """Return the corpus that is read in shards; None for texts that are read at once.

    needs_texts  an option that needs single texts; a plain file is then read at once, whatever its size
    """
    corpus = corpus_of(options)
    if corpus is None:
        corpus = None if needs_texts else _plain_file(options)
    if corpus is None:
        return None
    with track("counting", corpus.sources, "files") as advance:
        try:
            survey = corpus.survey(advance=advance)
        except UsageError:
            if corpus_of(options) is not None:
                raise
            return None  # the reader of plain files raises the error
    if survey.texts <= CORPUS_TEXTS:
        return None
    for note in (*corpus.notes, *survey.notes):
        print_note(note)
    return corpus


def _plain_file(options: InputOptions) -> Corpus | None:
    """Return the corpus of one plain file; None for other texts."""
    from attncli.inputs.corpus import Corpus

    if options.file is None or options.file == "-":
        return None
    try:
        return Corpus.of_files(options.file, options.column)
    except UsageError:  # the reader of plain files raises the error
        return None
