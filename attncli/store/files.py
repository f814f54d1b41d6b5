"""Atomic files: readers see the old file or the new one, never a part; and errors of the file system."""

import errno
import importlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from attncli.errors import OutputError
from attncli.store.text import utf8

_TEMPORARY = re.compile(r"\.attncli-[0-9a-f]{16}(\..*)?")
_NO_LINKS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
NEED_FILES = "allow more open files, such as ulimit -n 1024"
NEED_SPACE = "free some space or choose another folder with --out"
NEED_RIGHTS = "choose a folder that you may write to with --out"
_ADVICE = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), NEED_SPACE),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), NEED_RIGHTS),
    **dict.fromkeys((errno.EMFILE, errno.ENFILE), NEED_FILES),
    errno.ENAMETOOLONG: "choose a shorter path with --out",
    errno.EISDIR: "a folder of that name is in the way: move it or choose another folder with --out",
    errno.ENOTDIR: "a part of the path is a file: choose another folder with --out",
    errno.EEXIST: "a file of that name is in the way: move it or choose another folder with --out",
}


@contextmanager
def output_errors(path: Path) -> Iterator[None]:
    """Return a context that raises `OutputError` with advice where the system refuses to write or read `path`."""
    if "\0" in str(path):
        raise OutputError(f"cannot write {path}: no path contains NUL; choose another folder with --out")
    try:
        os.fsencode(path)
    except UnicodeEncodeError as error:
        raise OutputError(f"cannot write {path}: no path contains half a character; choose another folder") from error
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
        descriptor = _create_locked(temporary)
        try:
            yield temporary
            os.fsync(descriptor)
            temporary.replace(path)
        finally:
            os.close(descriptor)


def _create_locked(path: Path) -> int:
    """Create a file, locked until this process closes it or dies, for `remove_litter`; return its descriptor."""
    while True:
        # not mkstemp: its files are private to the user, these get the usual permissions of a new file
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
        with suppress(OSError, ImportError):  # a system without locks
            _lock(descriptor)
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)  # removed as litter before it was locked


def _lock(descriptor: int, wait: bool = True) -> None:
    fcntl = importlib.import_module("fcntl")  # Windows has none
    fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)


def remove_litter(folder: Path) -> None:
    """Delete the temporary files in a folder that killed processes have left; those of living processes stay."""
    with suppress(OSError):
        for path in [Path(entry.path) for entry in os.scandir(folder) if _TEMPORARY.fullmatch(entry.name)]:
            with suppress(OSError, ImportError):  # a living process has locked it, or has renamed it by now
                descriptor = os.open(path, os.O_WRONLY | _NO_LINKS)
                try:
                    _lock(descriptor, wait=False)
                    path.unlink()
                finally:
                    os.close(descriptor)


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


def check_folder(path: Path, wanted: str, advice: str, need_rights: str) -> Path:
    """Return the nearest folder of a path that exists; raise OutputError if it is a file, or cannot be written.

    wanted, advice  what messages call the folder, and what to do if a file is there
    need_rights     what to do if the folder cannot be written
    """
    existing = path
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    if not existing.is_dir():
        raise OutputError(f"expected {wanted}, but {existing} is a file: {advice}")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise OutputError(f"cannot write {path}: {existing} is not writable; {need_rights}")
    return existing


def make_folder(path: Path) -> None:
    """Create a folder and its parents; raise OutputError if the system refuses."""
    with output_errors(path):
        path.mkdir(parents=True, exist_ok=True)
