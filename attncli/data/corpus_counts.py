"""What a corpus has, for results over texts that are too many to be listed one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class CorpusCounts:
    """The size of a corpus that was read.

    texts    number of texts that were read
    tokens   number of their tokens, with those of targets
    files    number of files; 0 for a corpus that is no files
    malformed  number of records that are no text, which were left out
    skipped  number of texts that the model cannot read, which were left out
    examples  the first of these, with the reason
    sha256   hash of the contents
    against  the size of the second corpus, if two are compared
    """

    texts: int
    tokens: int
    files: int = 0
    malformed: int = 0
    skipped: int = 0
    examples: Sequence[str] = ()
    sha256: str = ""
    against: CorpusCounts | None = None

    @property
    def document(self) -> dict[str, Any]:
        """The counts as plain values."""
        names = ("files", "texts", "tokens", "malformed", "skipped", "sha256")
        return {name: getattr(self, name) for name in names}

    @property
    def notes(self) -> tuple[str, ...]:
        """A note on the texts that were left out, if there are any."""
        if self.against is not None:
            sides = zip("AB", (replace(self, against=None), self.against), strict=True)
            return tuple(f"{side}: {note}" for side, counts in sides for note in counts.notes)
        if not self.skipped:
            return ()
        more = f"; and {self.skipped - len(self.examples)} more" if self.skipped > len(self.examples) else ""
        texts = "1 text" if self.skipped == 1 else f"{self.skipped:,} texts"
        return (f"left out {texts}: {'; '.join(self.examples)}{more}",)
