"""Atomic files: readers see the old file or the new one, never a part; and errors of the file system."""

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from attncli.errors import OutputError
from attncli.store.text import utf8

NEED_SPACE = "free some space or choose another folder with --out"
NEED_RIGHTS = "choose a folder that you may write to with --out"
_ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), NEED_SPACE),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), NEED_RIGHTS),
    errno.ENAMETOOLONG: "choose a shorter path with --out",
    errno.EISDIR: "a folder of that name is in the way: move it or choose another folder with --out",
    errno.ENOTDIR: "a part of the path is a file: choose another folder with --out",
    errno.EEXIST: "a file of that name is in the way: move it or choose another folder with --out",
}


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Return a context that raises `OutputError` with advice where the system refuses to write or read `path`."""
    try:
        yield
    except OutputError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        advice = _ADVICE.get(error.errno or 0, "choose another folder with --out")
        raise OutputError(f"cannot write {path}: {reason}; {advice}") from error


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Return a context with a temporary file next to `path`, which replaces `path` at the end.

    On any error the temporary file is deleted and `path` stays unchanged. Raises `OutputError` for system errors.
    """
    with output_errors(path), _temporary_path(path) as temporary:
        # not mkstemp: its files are private to the user, these get the usual permissions of a new file
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)


@contextmanager
def _temporary_path(path: Path) -> Iterator[Path]:
    """Return a context with a new path next to `path`; a file there is deleted at the end."""
    temporary = path.parent / f".attncli-{secrets.token_hex(8)}{path.suffix}"
    try:
        yield temporary
    finally:
        with suppress(OSError):  # the folder may not exist
            temporary.unlink(missing_ok=True)


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write `data` to `path`, completely or not at all."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(utf8(data) if isinstance(data, str) else data)


def write_new(path: Path, data: bytes) -> bool:
    """Write `data` to `path` in one step unless it exists; return whether it was written."""
    with output_errors(path), _temporary_path(path) as temporary:
        write_atomic(temporary, data)
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError:  # a file system without hard links: a reader may briefly see an empty file
            try:
                with path.open("xb") as file:
                    file.write(data)
            except FileExistsError:
                return False
    return True


def make_folder(path: Path) -> None:
    """Create a folder and its parents; raise OutputError if the system refuses."""
    with output_errors(path):
        path.mkdir(parents=True, exist_ok=True)
