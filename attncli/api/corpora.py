"""Corpora for Python: any number of texts in files or a dataset, which a study reads in parts."""

from os import PathLike

from attncli.arguments import checked
from attncli.errors import UsageError
from attncli.inputs.corpus import Corpus


@checked
def corpus(
    files: str | PathLike[str] | None = None,
    *,
    dataset: str | None = None,
    split: str | None = None,
    column: str | None = None,
    on_error: str = "stop",
    streaming: bool = False,
) -> Corpus:
    """Return a corpus for `model.stats`, `model.patterns`, `model.heads` and all methods that read several texts.

    files      a file, a folder, or a pattern such as "corpus/*.parquet"
    dataset    a dataset of Hugging Face instead: a saved one, a folder of files, or one of the Hub
    split      its split
    column     column with the texts, `text` by default
    on_error   stop, or skip: leave out records that are no text, and texts that are too long for the model
    streaming  whether a dataset is read while it is downloaded
    Raise UsageError if no file is found.
    """
    if (files is None) == (dataset is None):
        raise UsageError("expected files or a dataset: give one of them")
    if dataset is not None:
        return Corpus.of_dataset(dataset, split, column, on_error, streaming)
    if split is not None or streaming:
        raise UsageError("split and streaming are about a dataset: leave them out")
    return Corpus.of_files(str(files), column, on_error)
