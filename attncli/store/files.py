"""Atomic files: readers see the old file or the new one, never a part; and errors of the file system."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attncli.errors import OutputError

TEMPORARY = ".attncli-"
NEED_SPACE = "free some space or choose another folder with --out"
NEED_RIGHTS = "choose a folder that you may write to with --out"
_ADVICE = {
    errno.ENOSPC: NEED_SPACE,
    errno.EDQUOT: NEED_SPACE,
    errno.EFBIG: NEED_SPACE,
    errno.EACCES: NEED_RIGHTS,
    errno.EPERM: NEED_RIGHTS,
    errno.EROFS: NEED_RIGHTS,
    errno.ENAMETOOLONG: "choose a shorter path with --out",
    errno.EISDIR: "a folder of that name is in the way: move it or choose another folder with --out",
    errno.ENOTDIR: "a part of the path is a file: choose another folder with --out",
    errno.EEXIST: "a file of that name is in the way: move it or choose another folder with --out",
}


def cannot_write(path: Path, error: OSError) -> OutputError:
    """Return the error for a file that the system refuses to write, with advice."""
    reason = error.strerror or str(error)
    advice = _ADVICE.get(error.errno or 0, "choose another folder with --out")
    return OutputError(f"cannot write {path}: {reason}; {advice}")


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Return a context with a temporary file next to `path`, which replaces `path` at the end.

    On any error the temporary file is deleted and `path` stays unchanged. Raises `OutputError` for system errors.
    """
    temporary = path.parent / f"{TEMPORARY}{secrets.token_hex(8)}{path.suffix}"
    try:
        # not mkstemp: its files are private to the user, these get the usual permissions of a new file
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        _delete(temporary)
        if isinstance(error, OutputError):
            raise
        raise cannot_write(path, error) from error
    except BaseException:
        _delete(temporary)
        raise


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path`, completely or not at all."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)


def write_new(path: Path, data: bytes) -> bool:
    """Write `data` to `path` in one step unless it exists; return whether it was written."""
    temporary = path.parent / f"{TEMPORARY}{secrets.token_hex(8)}{path.suffix}"
    try:
        write_atomic(temporary, data)
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        return _write_new_without_link(path, data)
    finally:
        _delete(temporary)
    return True


def _write_new_without_link(path: Path, data: bytes) -> bool:
    """Like `write_new`, for file systems without hard links; a reader may briefly see an empty file."""
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError:
        return False
    except OSError as error:
        raise cannot_write(path, error) from error
    return True


def make_folder(path: Path) -> None:
    """Create a folder and its parents; raise OutputError if the system refuses."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def _delete(temporary: Path) -> None:
    try:
        temporary.unlink(missing_ok=True)
    except OSError:  # the folder does not exist, so there is no file to delete
        return
