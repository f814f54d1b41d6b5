"""Files of HTML pages."""

from __future__ import annotations

from pathlib import Path

from attncli.store.files import write_atomic
from attncli.store.folder import OutputFolder
from attncli.store.text import utf8

NAME = "view.html"


def write_page(path: Path, html: str) -> None:
    """Write a page to any path, completely or not at all."""
    write_atomic(path, utf8(html))


def write_view(folder: OutputFolder, html: str) -> Path:
    """Write `view.html` into the folder of a run; return its path."""
    return folder.write_text(NAME, html)
