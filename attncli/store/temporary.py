"""Folders for the time of one call."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from attncli.errors import OutputError


@contextmanager
def temporary_folder(name: str) -> Iterator[Path]:
    """Return a context with a new folder of the system for temporary files, which is deleted at the end."""
    try:
        folder = TemporaryDirectory(prefix=f"{name}-", ignore_cleanup_errors=True)
    except OSError as error:
        raise OutputError(f"cannot make a temporary folder: {error}; set TMPDIR to another folder") from error
    with folder as path:
        yield Path(path)
