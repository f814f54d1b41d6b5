"""Files of HTML pages."""

from __future__ import annotations

from pathlib import Path

from attncli.store.files import write_atomic
from attncli.store.text import utf8


def write_page(path: Path, html: str) -> None:
    """Write a page to any path, completely or not at all."""
    write_atomic(path, utf8(html))
