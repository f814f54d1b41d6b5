"""The arguments of `load_runner` for the edits that options ask for."""

from attncli.edit_options import takes_mean
from attncli.errors import UsageError
from attncli.options import ModelOptions


def edit_arguments(options: ModelOptions, lines: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Return the arguments of `load_runner` for edits: the lines, and the texts of `--mean-file`, those that are given.

    Raise UsageError if the file has no texts, or no edit takes a mean.
    """
    path = getattr(options, "mean_file", None)
    if path is not None and not takes_mean(lines):
        raise UsageError("--mean-file has texts for --mean, which is not given: name heads with it, or leave it out")
    if path is None:
        return {"edits": lines} if lines else {}
    # imported here: the help needs no NumPy
    from attncli.inputs.texts import read_texts

    return {"edits": lines, "mean_texts": tuple(text.text for text in read_texts(path))}
