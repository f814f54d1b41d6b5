"""What a path that a user gave leads to; a path that the system refuses is an error of the user."""

import errno
import os
import re
import stat
from pathlib import Path
from typing import Literal

from attncli.errors import UsageError

_ABSOLUTE = re.compile(r"/|~|[A-Za-z]:[\\/]")
_MISSING = (errno.ENOENT, errno.ENOTDIR, errno.EBADF)


def what_is_at(path: str | Path) -> Literal["file", "folder", "nothing"]:
    """Return what a path leads to; raise UsageError if the path is too long, contains NUL or may not be read."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 (methods of Path hide or raise these errors, by version)
    except ValueError as error:
        raise UsageError(f"cannot read {path}: no path contains such a character; give another path") from error
    except OSError as error:
        if error.errno in _MISSING:
            return "nothing"
        raise UsageError(f"cannot read {path}: {error.strerror or error}; give another path") from error
    return "folder" if stat.S_ISDIR(mode) else "file"


def is_special(path: str | Path) -> bool:
    """Return whether a path leads to a pipe, a device or a socket, which may never end."""
    return Path(path).exists() and not Path(path).is_file() and not Path(path).is_dir()


def model_title(name: str) -> str:
    """Return what pictures call a model: a folder or file by the last part of its path, a Hub id as it is.

    A folder in the cache of the Hub is called by the id of its model.

    >>> model_title("/home/me/runs/bert"), model_title("google-bert/bert-base-uncased"), model_title("../runs/step-9/")
    ('bert', 'google-bert/bert-base-uncased', 'step-9')
    >>> model_title("/home/me/hub/models--google-bert--bert-base-uncased/snapshots/86b5e09")
    'google-bert/bert-base-uncased'
    """
    parts = [part for part in re.split(r"[/\\]", name) if part]
    of_cache = next((part for part in parts[:-2] if part.startswith("models--")), None)
    if of_cache is not None:
        return of_cache.removeprefix("models--").replace("--", "/")
    is_path = len(parts) > 2 or name.startswith((".", "/", "~")) or bool(set("*?[\\") & set(name)) or _exists(name)
    return parts[-1] if is_path and parts and parts[-1].strip(".") else name


def _exists(name: str) -> bool:
    try:
        return what_is_at(name) != "nothing"
    except UsageError:
        return False


def without_folders(text: str) -> str:
    """Return an absolute path as its last two parts, so that others do not read where it lies; other texts unchanged.

    >>> without_folders("/home/me/runs/bert/model"), without_folders("google-bert/bert-base-uncased")
    ('…/bert/model', 'google-bert/bert-base-uncased')
    """
    if _ABSOLUTE.match(text) is None:
        return text
    parts = [part for part in text.replace("\\", "/").split("/") if part]
    return "/".join(["…", *parts[-2:]])
