"""Two corpora that are compared: their shards in one row, so that any engine computes both."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from attncli.inputs.corpus import Corpus
from attncli.inputs.shards import Record, Shard, Survey


def _ignore(value: object) -> None:
    """Do nothing."""


@dataclass(eq=False)
class CorpusPair(Corpus):
    """The corpora A and B, its `sides`; the shards of B follow those of A, and their `side` is 1."""

    @classmethod
    def of(cls, a: Corpus, b: Corpus) -> CorpusPair:
        """Return the pair of two corpora, which skip records or stop at them alike."""
        notes = tuple(f"{side}: {note}" for side, corpus in zip("AB", (a, b), strict=True) for note in corpus.notes)
        names, files = f"{a.name} and {b.name}", (*a.files, *b.files)
        return cls(names, files=files, on_error=a.on_error, notes=notes, sides=(a, b))

    def arguments(self) -> dict[str, Any]:
        """Return the arguments of both; `corpus_from_arguments` makes this pair of them in any process."""
        return {"sides": [side.arguments() for side in self.sides]}

    def survey(self, size: int | None = None, advance: Callable[[float], None] = _ignore) -> Survey:
        """Return what both corpora hold, which are read once; raise UsageError if one has no text."""
        surveys = [side.survey(size, advance) for side in self.sides]
        shards: list[Shard] = []
        for number, survey in enumerate(surveys):
            index, first = len(shards), sum(shard.texts for shard in shards)
            shards += [
                replace(shard, index=shard.index + index, first=shard.first + first, side=number)
                for shard in survey.shards
            ]
        digest = hashlib.sha256(" ".join(survey.digest for survey in surveys).encode()).hexdigest()
        skipped = sum(survey.skipped for survey in surveys)
        errors = tuple(error for survey in surveys for error in survey.errors)
        return Survey(sum(survey.texts for survey in surveys), digest, tuple(shards), skipped, errors)

    def read(self, shard: Shard) -> list[Record]:
        """Return the records of a shard of either."""
        return self.sides[shard.side].read(shard)

    @property
    def sources(self) -> int:
        """The number of files or datasets of both."""
        return sum(side.sources for side in self.sides)

    def close(self) -> None:
        """Close all files."""
        for side in self.sides:
            side.close()


def corpus_from_arguments(arguments: Mapping[str, Any]) -> Corpus:
    """Return the corpus or the pair of corpora with these arguments."""
    if "sides" in arguments:
        return CorpusPair.of(*map(corpus_from_arguments, arguments["sides"]))
    return Corpus.from_arguments(dict(arguments))
