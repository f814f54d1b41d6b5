"""The errors that attncli raises on purpose; each says what was expected, what was found and what to do."""

import difflib
import re
import sys
from collections.abc import Iterable


class AttnError(Exception):
    """Base class of all errors that are shown to the user as one line instead of a traceback."""

    exit_code = 2


class CheckError(AttnError):
    """A check that the user defined failed."""

    exit_code = 1


class UsageError(AttnError, ValueError):
    """An option, a text, a file or an array is not valid."""


class ModelError(AttnError, RuntimeError):
    """The model is missing, incomplete, not allowed to run or has no softmax attention."""

    exit_code = 3


class OutputError(AttnError, OSError):
    """A file or folder cannot be written, or must not be replaced because attncli did not write it."""

    exit_code = 4


def check_docstrings() -> None:
    """Raise UsageError if Python runs without docstrings: Transformers reads them when it loads a model."""
    if sys.flags.optimize > 1:
        raise UsageError(
            "python -OO (PYTHONOPTIMIZE=2) removes the docstrings that Transformers needs to load a model and attncli "
            "to explain its metrics; run python without it, or with -O"
        )


_NO_MEMORY = re.compile(
    "can(?:'t|not) allocate memory|not enough memory|out of memory|bad_alloc|ALLOC_FAILED|failed to map segment", re.I
)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether this error or one of its causes means that no memory is left; libraries use different errors.

    >>> is_out_of_memory(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried …"))
    True
    """
    seen: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in seen:  # an error may be its own cause
        if isinstance(cause, MemoryError) or type(cause).__name__ == "OutOfMemoryError":
            return True
        if not isinstance(cause, AttnError) and _NO_MEMORY.search(str(cause)):
            return True
        seen.append(cause)
        cause = cause.__cause__
    return False


def did_you_mean(got: str, known: Iterable[str]) -> str:
    """Return the end of an error message about an unknown name: close names if there are any, else all names.

    >>> did_you_mean("entrpy", ["entropy", "distance"])
    "did you mean 'entropy'?"
    >>> did_you_mean("zzz", ["b", "a"])
    'known are: a, b'
    """
    names = sorted(known)
    close = difflib.get_close_matches(got, names, n=3, cutoff=0.6)
    if close:
        return f"did you mean {' or '.join(repr(name) for name in close)}?"
    return f"known are: {', '.join(names)}"
