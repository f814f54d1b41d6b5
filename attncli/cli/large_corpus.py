"""The texts that the input options name: at once, or as a corpus if there are more than a study reads at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from attncli.cli.console import print_note
from attncli.cli.read_input import corpus_of, is_plain, read_input
from attncli.engine.study import Study
from attncli.errors import UsageError
from attncli.options import InputOptions
from attncli.vocabulary import CORPUS_TEXTS

if TYPE_CHECKING:
    from attncli.data import Text
    from attncli.engine.progress import Track
    from attncli.engine.runner import SharedPass
    from attncli.inputs.corpus import Corpus


def texts_or_corpus(
    options: InputOptions, study: Study[Any], needs_texts: str, track: Track
) -> tuple[Sequence[Text], Corpus | None]:
    """Return the texts, or the corpus that the study reads in shards; each file is read once.

    needs_texts  an option that needs all texts at once; a plain file is then read at once, whatever its size
    """
    reads_parts = study.sharded and not (needs_texts and is_plain(options))
    corpus = read_corpus(options, track, study.shard_texts) if reads_parts else None
    if corpus is not None and corpus.survey().texts > study.corpus_from:
        print_corpus_notes(corpus)
        return (), corpus
    texts = read_input(options, corpus)
    _say_at_once(study, len(texts), needs_texts)
    return texts, None


def shared_texts(
    shared: SharedPass, options: InputOptions, study: Study[Any], needs_texts: str
) -> tuple[Sequence[Text], Corpus | None]:
    """Return the texts or the corpus of one step of a file, as `texts_or_corpus` does for a command."""
    corpus = shared.corpus
    reads_parts = study.sharded and not (needs_texts and is_plain(options))
    if corpus is not None and reads_parts and corpus.survey().texts > study.corpus_from:
        return (), corpus
    texts = corpus.texts() if corpus is not None and not shared.texts else shared.texts
    _say_at_once(study, len(texts), needs_texts)
    return texts, None


def read_corpus(options: InputOptions, track: Track, size: int | None = None) -> Corpus | None:
    """Return the corpus that the options name, or that of their plain file; None for other texts.

    size  texts of a shard
    All texts have been read once. The reader of plain files raises errors about these: None is returned then.
    """
    from attncli.inputs.corpus import Corpus

    corpus = corpus_of(options)
    if corpus is None and (options.file is None or options.file == "-"):
        return None
    try:
        corpus = corpus or Corpus.of_files(str(options.file), options.column)
        with track("counting", corpus.sources, "files") as advance:
            corpus.survey(size, advance)
    except UsageError:
        if not is_plain(options):
            raise
        return None
    return corpus


def print_corpus_notes(corpus: Corpus) -> None:
    """Print which files and records of a corpus are left out."""
    for note in (*corpus.notes, *corpus.survey().notes):
        print_note(note)


def _say_at_once(study: Study[Any], texts: int, needs_texts: str) -> None:
    """Print a note if a command reads many texts at once; not for a command that takes one text only."""
    if texts > CORPUS_TEXTS and not getattr(study, "one_text", False):
        own = "only files are read in parts" if study.sharded else f"{study.command} does not read texts in parts"
        why = f"{needs_texts} needs all of them" if needs_texts else own
        print_note(f"{texts:,} texts are read at once, as {why}: memory and files grow with their number")
