"""Shards of a corpus and what one pass over it finds, as plain values."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

SHARD_TEXTS = 512
"""Texts of a shard. A constant: shards depend on the texts alone, so that their files fit any run on them."""
ERRORS_SHOWN = 3
"""How many skipped records a note names."""


@dataclass(frozen=True)
class Record:
    """A text of a corpus, and where it stands: `corpus/a.jsonl, line 12`."""

    text: str
    where: str


@dataclass(frozen=True)
class Start:
    """Where reading begins: the number of a source of the corpus, and the offset and number of a row in it."""

    source: int = 0
    offset: int = 0
    number: int = 1


@dataclass(frozen=True)
class Shard:
    """Consecutive texts of a corpus, as plain values.

    index   number of the shard, from 0
    first   number of its first text in the corpus, from 0
    texts   number of texts
    start   where they begin
    digest  SHA-256 of the texts
    """

    index: int
    first: int
    texts: int
    start: Start
    digest: str


@dataclass(frozen=True)
class Survey:
    """What one pass over a corpus finds.

    texts    number of texts
    digest   SHA-256 of what the corpus holds, by which the same corpus gives the same folder
    shards   the shards in order
    skipped  number of records that are left out, with `on_error="skip"`
    errors   what is wrong with the first of them
    """

    texts: int
    digest: str
    shards: tuple[Shard, ...]
    skipped: int = 0
    errors: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """A note on records that are left out, if there are any."""
        if not self.skipped:
            return ()
        more = f"; and {self.skipped - len(self.errors)} more" if self.skipped > len(self.errors) else ""
        return (f"left out {records_counted(self.skipped)}: {'; '.join(self.errors)}{more}",)


def records_counted(count: int) -> str:
    """Return a number of records in words."""
    return f"{count} record{'' if count == 1 else 's'}"


class TextsDigest:
    """The SHA-256 of texts, one after another; the same texts cut in another way have another digest."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._sha256 = hashlib.sha256()
        for text in texts:
            self.add(text)

    def add(self, text: str) -> None:
        """Add one text."""
        data = text.encode()
        self._sha256.update(len(data).to_bytes(8, "little") + data)

    def hexdigest(self) -> str:
        """Return the digest so far."""
        return self._sha256.hexdigest()
