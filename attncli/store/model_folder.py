"""A folder with a saved model: readers see the old folder or the new one, never a part."""

import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from attncli.errors import OutputError
from attncli.store.files import make_folder, output_errors
from attncli.store.text import json_text

CONFIG = "config.json"


def check_model_folder(path: Path, source: str, force: bool) -> None:
    """Raise OutputError if a model cannot be saved there.

    source  the model that is changed, which may be a folder
    force   whether another saved model is replaced
    """
    target = path.absolute().resolve()
    if Path(source).is_dir() and Path(source).resolve() in (target, *target.parents):
        raise OutputError(f"--save {path} is in the folder of the model itself: choose another folder")
    if path.is_dir() and any(path.iterdir()):
        if not path.joinpath(CONFIG).is_file():
            raise OutputError(f"--save {path} holds files that are no saved model: choose another folder")
        if not force:
            raise OutputError(f"--save {path} holds a model: choose another folder, or replace it with --force")
    elif path.exists() and not path.is_dir():
        raise OutputError(f"--save {path} is a file: choose a folder")


def _accept(path: Path) -> None:
    """Accept every folder."""


def write_model_folder(
    path: Path,
    write: Callable[[Path], Mapping[str, Mapping[str, Any]]],
    check: Callable[[Path], None] = _accept,
) -> int:
    """Write a folder by `write`, completely or not at all; return its size in bytes.

    write  writes into an empty folder, and returns further JSON documents by file name
    check  raises an error if the folder is not to be kept
    A model that is there is replaced, see `check_model_folder`.
    """
    make_folder(path.parent)
    temporary, former = (path.parent / f".attncli-{secrets.token_hex(8)}" for _ in range(2))
    try:
        with output_errors(path):
            temporary.mkdir()
            for name, document in write(temporary).items():
                temporary.joinpath(name).write_text(json_text(document), encoding="utf-8")
            check(temporary)
            size = sum(file.stat().st_size for file in temporary.rglob("*") if file.is_file())
            if path.exists():
                path.rename(former)
            temporary.rename(path)
    finally:
        for folder in (temporary, former):
            shutil.rmtree(folder, ignore_errors=True)
    return size
