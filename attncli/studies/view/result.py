"""The page of `view`."""

import html
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from attncli.arguments import checks_arguments
from attncli.data.described import Described, counted
from attncli.store import write_atomic

HEIGHT = 640
"""Height of a page in a notebook, in pixels."""


@checks_arguments
@dataclass(frozen=True, eq=False, repr=False)
class Page(Described):
    """One HTML page on which a run is explored; it needs no network and no other file.

    html    the document
    notes   what the page leaves out of the run
    height  height in a notebook, in pixels
    A notebook shows the page in place.
    """

    html: str
    notes: tuple[str, ...] = ()
    height: int = HEIGHT

    def save(self, path: str | Path) -> Path:
        """Write the page to a file, whole or not at all, and return the path."""
        write_atomic(Path(path), self.html)
        return Path(path)

    def _repr_html_(self) -> str:
        style = f"width: 100%; height: {self.height}px; border: 0"
        attributes = f'sandbox="allow-scripts allow-downloads" style="{style}" title="attention"'
        return f'<iframe srcdoc="{html.escape(self.html)}" {attributes}></iframe>'

    def _lines(self) -> Iterable[str]:
        yield f'Page of {len(self.html) / 1000:,.0f} kB: a notebook shows it, .save("view.html") writes it'
        if self.notes:
            yield f"{counted(len(self.notes), 'note')}: {self.notes[0]}"
