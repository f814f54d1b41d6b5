"""Files that appear whole or not at all, and the error where the disk will not have them."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attncli.errors import OutputError

TEMPORARY = ".attncli-"
NEED_ROOM = "free some space or choose another folder with --out"
NEED_RIGHTS = "choose a folder that you may write to with --out"
_ADVICE = {
    errno.ENOSPC: NEED_ROOM,
    errno.EDQUOT: NEED_ROOM,
    errno.EFBIG: NEED_ROOM,
    errno.EACCES: NEED_RIGHTS,
    errno.EPERM: NEED_RIGHTS,
    errno.EROFS: NEED_RIGHTS,
    errno.ENAMETOOLONG: "choose a shorter path with --out",
    errno.EISDIR: "a folder of that name is in the way: move it or choose another folder with --out",
    errno.ENOTDIR: "a part of the path is a file: choose another folder with --out",
    errno.EEXIST: "a file of that name is in the way: move it or choose another folder with --out",
}


def cannot_write(path: Path, error: OSError) -> OutputError:
    """The one line for the user when the system refuses to write."""
    reason = error.strerror or str(error)
    advice = _ADVICE.get(error.errno or 0, "choose another folder with --out")
    return OutputError(f"cannot write {path}: {reason}; {advice}")


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """A temporary file beside `path` to write into; at the end it replaces `path`, on any error it vanishes.

    Readers see the old file or the new one, never a part. The system's refusals come out as `OutputError`.
    """
    temporary = path.parent / f"{TEMPORARY}{secrets.token_hex(8)}{path.suffix}"
    try:
        # not mkstemp: its files are private to the user, these get the rights that any new file gets
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        _discard(temporary)
        if isinstance(error, OutputError):
            raise
        raise cannot_write(path, error) from error
    except BaseException:
        _discard(temporary)
        raise


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` to `path` so that the file is there whole or not at all."""
    with atomic_file(path) as temporary:
        temporary.write_bytes(data)


def write_new(path: Path, data: bytes) -> bool:
    """Write `data` to `path` unless something is there already, in one step; whether it was written."""
    temporary = path.parent / f"{TEMPORARY}{secrets.token_hex(8)}{path.suffix}"
    try:
        write_atomic(temporary, data)
        os.link(temporary, path)
    except FileExistsError:
        return False
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        return _write_new_unlinked(path, data)
    finally:
        _discard(temporary)
    return True


def _write_new_unlinked(path: Path, data: bytes) -> bool:
    """The same on file systems without hard links: there a reader may for a moment see an empty file."""
    try:
        with path.open("xb") as file:
            file.write(data)
    except FileExistsError:
        return False
    except OSError as error:
        raise cannot_write(path, error) from error
    return True


def make_folder(path: Path) -> None:
    """Make a folder and those above it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def _discard(temporary: Path) -> None:
    try:
        temporary.unlink(missing_ok=True)
    except OSError:  # the folder itself is gone or was never there: nothing is left behind
        return
