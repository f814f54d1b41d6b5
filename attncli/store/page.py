"""The page of `attncli view` as a file."""

from __future__ import annotations

from pathlib import Path

from attncli.store.files import write_atomic
from attncli.store.folder import OutputFolder
from attncli.store.text import utf8

NAME = "view.html"


def write_page(path: Path, html: str) -> None:
    """Write a page to any path, whole or not at all."""
    write_atomic(path, utf8(html))


def write_view(folder: OutputFolder, html: str) -> Path:
    """Write the page of a run, `view.html`."""
    return folder.write_text(NAME, html)
