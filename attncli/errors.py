"""The errors that attncli raises on purpose; each says what was expected, what was found and what to do."""

import difflib
import re
import sys
from collections.abc import Iterable

from attncli.wording import spelled


class AttnError(Exception):
    """Base class of all errors that are shown to the user as one short line instead of a traceback.

    The text of an error names options as the command line does in a command, and as arguments in Python.
    """

    exit_code = 2

    def __str__(self) -> str:
        """Return the message, without the middle of what a user typed if that is long."""
        return shortened(spelled(super().__str__()), LONGEST_ERROR)


class CheckError(AttnError):
    """A check that the user defined failed."""

    exit_code = 1


class UsageError(AttnError, ValueError):
    """An option, a text, a file or an array is not valid."""


class TextError(UsageError):
    """One of several texts is not valid; `index` is its number, and `others` are the errors of further texts."""

    def __init__(self, message: str, index: int = -1) -> None:
        super().__init__(message)
        self.index = index
        self.others: tuple[TextError, ...] = ()


class ModelError(AttnError, RuntimeError):
    """The model is missing, incomplete, not allowed to run or has no softmax attention."""

    exit_code = 3


class OutputError(AttnError, OSError):
    """A file or folder cannot be written, or must not be replaced because attncli did not write it."""

    exit_code = 4


LONGEST_ERROR, _LONGEST_WORD = 480, 120
"""Characters of the line of an error, and of one word in it."""
_LONGEST_NAME, _LONGEST_LIST = 200, 320
_NO_MEMORY = re.compile(
    "can(?:'t|not) allocate memory|not enough memory|out of memory|bad_alloc|ALLOC_FAILED|failed to map segment", re.I
)
_NO_FILES = re.compile("too many open files", re.I)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether this error or one of its causes means that no memory is left; libraries use different errors.

    >>> is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried …"))
    True
    """
    for cause in _causes(error):
        if isinstance(cause, MemoryError) or type(cause).__name__ == "OutOfMemoryError":
            return True
        if not isinstance(cause, AttnError) and _NO_MEMORY.search(str(cause)):
            return True
    return False


def is_out_of_files(error: BaseException) -> bool:
    """Return whether this error or one of its causes means that the process may not open more files.

    >>> is_out_of_files(ImportError("libtorch.so: cannot open shared object file: Too many open files"))
    True
    """
    return any(_NO_FILES.search(str(cause)) for cause in _causes(error) if not isinstance(cause, AttnError))


def _causes(error: BaseException) -> list[BaseException]:
    """Return an error and its causes; an error may be its own cause."""
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__
    return causes


def check_docstrings() -> None:
    """Raise UsageError if Python runs without docstrings: Transformers reads them when it loads a model."""
    if sys.flags.optimize > 1:
        raise UsageError(
            "python -OO (PYTHONOPTIMIZE=2) removes the docstrings that Transformers needs to load a model and attncli "
            "to explain its metrics; run python without it, or with -O"
        )


def did_you_mean(got: str, known: Iterable[str]) -> str:
    """Return the end of an error message about an unknown name: close names if there are any, else all names.

    >>> did_you_mean("entrpy", ["entropy", "distance"])
    "did you mean 'entropy'?"
    >>> did_you_mean("zzz", ["b", "a"])
    'known are: a, b'
    """
    names = sorted(known)
    # the time of the comparison grows with the square of the length
    close = difflib.get_close_matches(got, names, n=3, cutoff=0.6) if len(got) <= _LONGEST_NAME else []
    if close:
        return f"did you mean {' or '.join(repr(name) for name in close)}?"
    shown: list[str] = []
    length = 0
    for name in names:
        length += len(name) + 2
        if shown and length > _LONGEST_LIST:
            return f"known are: {', '.join(shown)} and {len(names) - len(shown)} more"
        shown.append(name)
    return f"known are: {', '.join(shown)}"


def shortened(line: str, longest: int) -> str:
    """Return a line of at most `longest` characters: cut the middle of long words, such as paths, then of the line.

    >>> shortened("no such file: " + "a" * 30 + ".txt; give another", 40)
    'no such file: aaa … aa.txt; give another'
    """
    if len(line) > longest:
        line = " ".join(_without_middle(word, _LONGEST_WORD) for word in line.split(" "))
    return _without_middle(line, longest)


def _without_middle(text: str, longest: int) -> str:
    if len(text) <= longest:
        return text
    end = longest // 2
    return f"{text[: longest - end - 3]} … {text[-end:]}"
