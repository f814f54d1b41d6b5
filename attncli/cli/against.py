"""What `attncli compare` reads: texts at once, a corpus that both models read in shards, or a corpus for each side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from attncli.cli.console import command_console
from attncli.cli.large_corpus import print_corpus_notes, texts_or_corpus
from attncli.cli.read_input import corpus_of, read_input
from attncli.engine.study import Study
from attncli.errors import UsageError
from attncli.options import ConsoleOptions, InputOptions, key
from attncli.studies.compare.options import CompareOptions

if TYPE_CHECKING:
    from attncli.data import Text
    from attncli.inputs.corpus import Corpus

_NAMES = ("against_file", "against_dataset", "against_split")


def compared_texts(
    texts: InputOptions, options: CompareOptions, study: Study[Any], console: ConsoleOptions, needs_texts: str
) -> tuple[Sequence[Text], Corpus | None]:
    """Return the texts of A; or the corpus that both models read, or the pair of corpora.

    needs_texts  an option that needs all texts at once
    Raise UsageError if options exclude each other, or a corpus has no text.
    """
    given = next((name for name in _NAMES if getattr(options, name) is not None), None)
    if options.against_text is not None:
        if given is not None:
            raise UsageError(f"--against-text and --{key(given)} exclude each other: give one of them")
        return read_input(texts), None
    with command_console(console) as shown:
        if given is None:
            return texts_or_corpus(texts, study, needs_texts, shown.track)
        if needs_texts:
            raise UsageError(f"{needs_texts} needs all texts at once, and corpora are read in parts: leave it out")
        pair = _pair(texts, options, given)
        with shown.track("counting", pair.sources, "files") as advance:
            pair.survey(study.shard_texts, advance)
        print_corpus_notes(pair)
        return (), pair


def _pair(texts: InputOptions, options: CompareOptions, given: str) -> Corpus:
    """Return the corpora A and B; `given` is an option of B."""
    from attncli.inputs.corpus import Corpus
    from attncli.inputs.corpus_pair import CorpusPair

    if texts.file == "-" or (texts.file is None and texts.dataset is None):
        raise UsageError(f"--{key(given)} goes with --file PATH or --dataset, which name the texts of A: give one too")
    if options.against_file is not None and options.against_dataset is not None:
        raise UsageError("--against-file and --against-dataset exclude each other: give one of them")
    how = texts.column, texts.on_error
    if options.against_file is not None:
        if options.against_split is not None:
            raise UsageError("--against-split goes with --against-dataset or --dataset: leave it out")
        b = Corpus.of_files(options.against_file, *how)
    elif (dataset := options.against_dataset or texts.dataset) is None:
        raise UsageError("--against-split is a split of a dataset: give --dataset or --against-dataset")
    else:
        b = Corpus.of_dataset(dataset, options.against_split, *how, texts.streaming)
    a = corpus_of(texts)
    return CorpusPair.of(Corpus.of_files(str(texts.file), *how) if a is None else a, b)
