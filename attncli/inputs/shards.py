"""Shards of a corpus and what one pass over it finds, as plain values."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from attncli.data.cached import cached_property

SHARD_TEXTS = 512
"""Texts of a shard, unless shards are joined. A constant: shards depend on the texts alone, so that their files fit
any run on them."""
_JOINED, _EVENLY, _CHARACTERS = 4, 4, 1 << 18
"""How many shards are joined at most; a number of workers for which they remain a multiple, so that these end at the
same time; and the most characters of joined ones, some 65,000 tokens, as an interruption loses a shard."""
_FEW = 2
"""How many shards are left of few: a worker would take longer to start than to read a smaller one."""
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
    digest  SHA-256 of the texts, or of the digests of its parts
    characters  number of their characters
    part    number of texts of each part of which the shard was joined; 0 for one part
    side    number of the corpus, if two are read
    """

    index: int
    first: int
    texts: int
    start: Start
    digest: str
    characters: int = 0
    part: int = 0
    side: int = 0

    def digest_of(self, texts: Sequence[str]) -> str:
        """Return what `digest` is if these are the texts of the shard."""
        if not self.part:
            return TextsDigest(texts).hexdigest()
        parts = [texts[first : first + self.part] for first in range(0, len(texts), self.part)]
        return TextsDigest(TextsDigest(part).hexdigest() for part in parts).hexdigest()


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

    @cached_property
    def joined(self) -> Survey:
        """The survey with larger shards of short texts: these have more texts of each length, which are read at once.

        How many are joined depends on the texts alone. Small corpora keep enough shards for a few workers.
        """
        count = len(self.shards)
        number = _EVENLY * math.ceil(count / (_EVENLY * _JOINED)) if count > _EVENLY else min(count, _FEW)
        groups: list[list[Shard]] = []
        for index, shard in enumerate(self.shards):
            begins = index * number // count > (index - 1) * number // count
            if begins or not _follows(groups[-1], shard):
                groups.append([])
            groups[-1].append(shard)
        return replace(self, shards=tuple(_join(index, group) for index, group in enumerate(groups)))


def _follows(group: Sequence[Shard], shard: Shard) -> bool:
    """Return whether a shard begins where others of its corpus end, and they have few characters together."""
    last, characters = group[-1], sum(one.characters for one in group)
    follows = shard.side == last.side and shard.first == last.first + last.texts
    return follows and characters + shard.characters <= _CHARACTERS


def _join(index: int, group: Sequence[Shard]) -> Shard:
    """Return consecutive shards as one; a single one as it is."""
    first = group[0]
    if len(group) == 1:
        return replace(first, index=index)
    digest = TextsDigest(shard.digest for shard in group).hexdigest()
    texts, characters = sum(shard.texts for shard in group), sum(shard.characters for shard in group)
    return replace(first, index=index, texts=texts, digest=digest, characters=characters, part=first.texts)


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
