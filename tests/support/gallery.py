"""The pictures of docs/gallery.md: `python tests/support/gallery.py` draws them again.

Each picture stands above the command that draws it and has the name of the file that the command writes.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from readme import REPO, Block, blocks, calls, hub_cache

PAGE = REPO / "docs" / "gallery.md"


@dataclass(frozen=True)
class Entry:
    """A picture of the gallery, and the block of code that draws it."""

    picture: Path
    block: Block


def entries() -> list[Entry]:
    """All pictures with the blocks below them, in order."""
    text = PAGE.read_text(encoding="utf-8")
    pictures = re.findall(r"^!\[[^\]]+\]\((gallery/[\w.-]+)\)$", text, re.MULTILINE)
    return [Entry(PAGE.parent / name, block) for name, block in zip(pictures, blocks(text), strict=True)]


def draw(entry: Entry, folder: Path, run: Callable[..., object]) -> Path:
    """Run the commands of an entry in `folder`, which is the working folder too; return the path of the new picture."""
    for arguments in calls(entry.block, folder):
        run(*arguments)
    (path,) = folder.rglob(entry.picture.name)
    return path


def main() -> None:
    """Draw all pictures of the gallery again."""
    entry_list = entries()
    with tempfile.TemporaryDirectory() as scratch:
        environment = {**os.environ, **hub_cache(Path(scratch) / "home")}
        for number, entry in enumerate(entry_list):
            folder = Path(scratch, str(number))
            folder.mkdir()

            def run(*arguments: str, folder: Path = folder) -> None:
                command = [sys.executable, "-m", "attncli", *arguments]
                subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)

            entry.picture.parent.mkdir(exist_ok=True)
            shutil.copyfile(draw(entry, folder, run), entry.picture)
            sys.stdout.write(f"Wrote {entry.picture.relative_to(REPO)}\n")
    for path in set((PAGE.parent / "gallery").iterdir()) - {entry.picture for entry in entry_list}:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()


if __name__ == "__main__":
    main()
