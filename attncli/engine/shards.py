"""A corpus in shards: what is computed of each shard, and what is needed for that."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from attncli.data import RunInfo, Text
from attncli.engine.execution import Execution
from attncli.engine.progress import Advance
from attncli.engine.request import Request
from attncli.errors import AttnError, ModelError, TextError, UsageError
from attncli.inputs.corpus import Corpus
from attncli.inputs.shards import SHARD_TEXTS, Shard, Survey
from attncli.store.shard_files import ShardContent
from attncli.store.text import plain

if TYPE_CHECKING:  # the main process may need no model
    from attncli.engine.runner import Runner
    from attncli.engine.study import Study

_EXAMPLES = 3
"""Skipped records of a shard whose place is kept."""
_COUNTED = ("reading", "removing")
"""What passes over all texts of a shard are called."""


@dataclass(frozen=True)
class ShardTask:
    """Everything by which a process computes any shard of a corpus.

    arguments  arguments of `load_runner`: each process loads the model by itself
    size       texts of a shard, 0 for as many as the study says, of short texts more (`Survey.joined`); another number
               only changes the last digits
    """

    study: Study[Any]
    request: Request
    arguments: Mapping[str, Any]
    corpus: Corpus
    size: int = 0

    @property
    def survey(self) -> Survey:
        """The shards of the corpus."""
        survey = self.corpus.survey(self.texts_of_a_shard)
        return survey if self.size or self.study.shard_texts < SHARD_TEXTS else survey.joined

    @property
    def texts_of_a_shard(self) -> int:
        """The number of texts of a shard, before shards are joined."""
        return self.size or self.study.shard_texts

    def where(self, shard: Shard) -> str:
        """Return where the records of a shard are, for errors."""
        try:
            records = self.corpus.read(shard)
        except UsageError:
            return f"texts {shard.first} to {shard.first + shard.texts - 1}"
        return f"the texts from {records[0].where} to {records[-1].where}"


Engine = Callable[[ShardTask, Sequence[Shard], Advance], Iterator[tuple[int, bytes]]]
"""Computes shards; yields the index of each with its bytes (`shard_to_bytes`) when it is complete, in any order.

The bytes do not depend on the engine: batches are cut inside a shard.
"""


class ShardProgress:
    """Turns the progress of the passes over a shard into a number of texts, of which there are `texts`.

    An analysis may run several passes over its texts: the texts are then counted in the first.
    """

    def __init__(self, advance: Advance, texts: int) -> None:
        self._advance, self._texts, self._counted = advance, texts, 0.0

    @contextmanager
    def track(self, what: str, total: float, unit: str) -> Iterator[Advance]:
        """Count texts while something is read."""
        yield lambda done: self._count(self._texts * done / max(total, 1)) if what in _COUNTED else None

    def finish(self) -> None:
        """Count all texts that were not counted."""
        self._count(self._texts)

    def _count(self, texts: float) -> None:
        texts = min(texts, self._texts - self._counted)
        self._counted += texts
        self._advance(texts)


def compute_shard(task: ShardTask, shard: Shard, load: Callable[[], Runner], advance: Advance) -> ShardContent:
    """Return what the study computes of a shard.

    Raise UsageError that names the record if one cannot be read; with `--on-error skip` such records are left out.
    """
    records, progress = list(enumerate(task.corpus.read(shard), shard.first)), ShardProgress(advance, shard.texts)
    skipped, left_out = list[str](), list[str]()

    def leave_out(error: AttnError, position: int) -> None:
        where = records[position][1].where
        if task.corpus.on_error != "skip" or not isinstance(error, UsageError):
            kind = ModelError if isinstance(error, ModelError) else UsageError
            raise kind(f"{where}: {error}") from error
        left_out.append(f"{where}: {error}")

    while records:
        numbers, texts = [number for number, _ in records], tuple(Text(record.text) for _, record in records)
        settings: dict[str, Any] = {"arguments": task.arguments, "first": shard.first, "side": shard.side}
        execution = Execution(
            task.request,
            texts,
            load=load,
            track=progress.track,
            numbers=numbers,
            leave_out=leave_out,
            places=[record.where for _, record in records],
            **settings,
        )
        try:
            run, state = task.study.shard(execution)
            break
        except TextError as error:
            if not 0 <= error.index - shard.first < len(records):
                raise
            refused = {one.index - shard.first: one for one in (error, *error.others)}
            if task.corpus.on_error != "skip":
                leave_out(error, error.index - shard.first)
            skipped += [f"{records[index][1].where}: {one}" for index, one in refused.items()]
            records = [record for index, record in enumerate(records) if index not in refused]
    progress.finish()
    texts_read, skipped = len(records) - len(left_out), skipped + left_out
    header: dict[str, Any] = {"texts": texts_read, "skipped": len(skipped), "examples": skipped[:_EXAMPLES]}
    if not texts_read:
        return ShardContent(header, {})
    tokens = sum(len(text.source) + len(text.target or ()) for text in run.inputs)
    return ShardContent({**header, "tokens": tokens, "run": plain(vars(run.info))}, state)


def run_info_of(headers: Iterable[Mapping[str, Any]]) -> RunInfo:
    """Return where the results of shards come from, with the notes of all shards; UsageError if all are empty."""
    info, notes, example = None, dict[str, list[str]](), ""
    for header in headers:
        example = example or next(iter(header["examples"]), "")
        described = header.get("run")
        if described is None:
            continue
        info = info or RunInfo(**{**described, "notes": ()})
        for note in described["notes"]:
            notes.setdefault(_without_digits(note), []).append(note)
    if info is None:
        raise UsageError(f"there is no text to read: all records of the corpus were skipped; {example}")
    return replace(info, notes=tuple(map(_summed_up, notes.values())))


def _without_digits(note: str) -> str:
    return re.sub(r"\d[\d,.]*", "0", note)


def _summed_up(notes: Sequence[str]) -> str:
    """Return the first of several notes that differ in numbers only, and how many others there are."""
    others = len(notes) - 1
    if len(set(notes)) == 1:
        return notes[0]
    return f"{notes[0]} (and {others} more such notes, on other parts of the corpus)"
