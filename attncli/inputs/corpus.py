"""Corpora: any number of texts in files or a dataset, read when needed, in shards that any process can read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attncli.data import Text
from attncli.errors import UsageError
from attncli.inputs.compressed import damage_named
from attncli.inputs.corpus_files import CorpusFile, find_corpus_files
from attncli.inputs.dataset_rows import DatasetRows
from attncli.inputs.row_values import MissingColumnError, TextRow
from attncli.inputs.shards import ERRORS_SHOWN, SHARD_TEXTS, Record, Shard, Start, Survey, TextsDigest, records_counted
from attncli.inputs.text_rows import RowReader, reader_of
from attncli.vocabulary import CORPUS_TEXTS, ON_ERRORS


def _ignore(value: object) -> None:
    """Do nothing."""


@dataclass(eq=False)
class Corpus:
    """Texts in files or in a dataset, in an order that does not change: by file name, then by row.

    name      what the user calls it
    files     the files in order; empty for a dataset
    dataset   name or folder of a dataset of Hugging Face, with its configuration: `NAME:CONFIG`
    split     split of the dataset
    column    column with the texts; None is `text`
    on_error  stop: a record that is no text raises UsageError; skip: it is left out and counted
    streaming whether a dataset is read while it is loaded, without a copy of it
    notes     notes on files that are left out
    sides     A and B of a pair of corpora, else empty
    """

    name: str
    files: tuple[CorpusFile, ...] = ()
    dataset: str | None = None
    split: str | None = None
    column: str | None = None
    on_error: str = "stop"
    streaming: bool = False
    notes: tuple[str, ...] = ()
    sides: tuple[Corpus, ...] = ()
    _readers: dict[int, RowReader] = field(default_factory=dict, repr=False)
    _surveys: dict[int, Survey] = field(default_factory=dict, repr=False)
    _few: list[Text] | None = field(default=None, repr=False)

    @classmethod
    def of_files(cls, path: str | Path, column: str | None = None, on_error: str = "stop") -> Corpus:
        """Return the corpus of a file, a folder or a pattern; raise UsageError if there is no file."""
        _check_on_error(on_error)
        files, notes = find_corpus_files(str(path))
        for file in files:
            reader_of(file.path, column)
        return cls(str(path), files=files, column=column, on_error=on_error, notes=notes)

    @classmethod
    def of_dataset(
        cls,
        name: str,
        split: str | None = None,
        column: str | None = None,
        on_error: str = "stop",
        streaming: bool = False,
    ) -> Corpus:
        """Return the corpus of a dataset of Hugging Face: a saved one, a folder of files, or one of the Hub."""
        _check_on_error(on_error)
        return cls(name, dataset=name, split=split, column=column, on_error=on_error, streaming=streaming)

    def arguments(self) -> dict[str, Any]:
        """Return plain values, also for JSON; `Corpus.from_arguments` makes this corpus of them in any process."""
        names = ("name", "dataset", "split", "column", "on_error", "streaming")
        files = [[str(file.path), file.name] for file in self.files]
        return {**{name: getattr(self, name) for name in names}, "files": files}

    @classmethod
    def from_arguments(cls, arguments: dict[str, Any]) -> Corpus:
        """Return the corpus with these arguments."""
        files = tuple(CorpusFile(Path(path), name) for path, name in arguments["files"])
        return cls(**{**arguments, "files": files})

    def __iter__(self) -> Iterator[Record]:
        """Yield all records in order, one at a time; raise UsageError for one that is no text, unless it is skipped."""
        return self._records(Start())

    def survey(self, size: int | None = None, advance: Callable[[float], None] = _ignore) -> Survey:
        """Read the corpus once and return what it holds; a second call returns the same.

        Texts are not kept, unless there are so few that commands may read all of them at once: see `texts`.

        size     texts of a shard; None where shards do not matter
        advance  is called with the number of files that were read since the last call
        Raise UsageError if it contains no text.
        """
        if size is None:
            size = next(iter(self._surveys), SHARD_TEXTS)
        if size not in self._surveys:
            few: list[Text] = []

            def keep(text: str) -> None:
                few.append(Text(text)) if len(few) <= CORPUS_TEXTS else None

            self._surveys[size] = self._survey(size, advance=advance, keep=keep)
            self._few = few if len(few) <= CORPUS_TEXTS else None
        return self._surveys[size]

    def shards(self, size: int = SHARD_TEXTS) -> tuple[Shard, ...]:
        """Return the shards of the corpus."""
        return self.survey(size).shards

    def read(self, shard: Shard) -> list[Record]:
        """Return the records of a shard, in any process; one after another costs least.

        Raise UsageError if the texts are no longer those that the shard was made of.
        """
        records = []
        for record in self._records(shard.start):
            records.append(record)
            if len(records) == shard.texts:
                break
        if shard.digest_of([record.text for record in records]) != shard.digest:
            where = f" (from {records[0].where} on)" if records else ""
            raise UsageError(f"{self.name} has changed since the run began{where}: start the run again")
        return records

    def texts(self) -> list[Text]:
        """Return all texts at once, for a corpus that fits into memory; raise UsageError if there is none."""
        if self._few is not None:
            return list(self._few)
        texts: list[Text] = []
        self._surveys[SHARD_TEXTS] = self._survey(SHARD_TEXTS, keep=lambda text: texts.append(Text(text)))
        return texts

    @property
    def sources(self) -> int:
        """The number of files, or 1 for a dataset."""
        return len(self.files) or 1

    def close(self) -> None:
        """Close all files."""
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    def _records(self, start: Start) -> Iterator[Record]:
        for number, row in self._rows(start):
            if isinstance(row.text, UsageError):
                if self.on_error == "stop":
                    raise row.text
            elif row.text.strip():
                name = self.files[number].path if self.files else self.name
                yield Record(row.text, f"{name}, {self._reader(number).unit} {row.number}")

    def _rows(self, start: Start) -> Iterator[tuple[int, TextRow]]:
        """Yield the number of the source and the row from a start on."""
        for number in range(start.source, self.sources):
            first = (start.offset, start.number) if number == start.source else (0, 1)
            try:
                for row in self._reader(number).rows(*first):
                    yield number, row
            except MissingColumnError as error:
                yield number, TextRow(0, 1, error)

    def _reader(self, number: int) -> RowReader:
        """Return the reader of a source; only the last one stays open."""
        if number not in self._readers:
            self.close()
            if self.dataset is None:
                self._readers[number] = reader_of(self.files[number].path, self.column)
            else:
                column = self.column or "text"
                self._readers[number] = DatasetRows(self.dataset, self.split, column, self.streaming)
        return self._readers[number]

    def _survey(
        self, size: int, advance: Callable[[float], None] = _ignore, keep: Callable[[str], None] = _ignore
    ) -> Survey:
        """Return the survey; `keep` is called with each text."""
        builder, skipped, done = _ShardBuilder(size), 0, 0
        errors: list[str] = []
        for number, row in self._rows(Start()):
            if number > done:
                advance(number - done)
                done = number
            if isinstance(row.text, UsageError):
                if self.on_error == "stop":
                    raise row.text
                skipped += 1
                errors += [" ".join(str(row.text).split())] if len(errors) < ERRORS_SHOWN else []
            elif row.text.strip():
                builder.add(Start(number, row.offset, row.number), row.text)
                keep(row.text)
        advance(self.sources - done)
        if self.dataset is None:
            self.close()
        shards, texts_digest = builder.finish()
        survey = Survey(builder.texts, self._digest(texts_digest), shards, skipped, tuple(errors))
        if not survey.texts:
            left_out = f"; left out {records_counted(skipped)}: {errors[0]}" if skipped else ""
            raise UsageError(f"{self.name} contains no text: expected at least one that is not blank{left_out}")
        return survey

    def _digest(self, texts_digest: str) -> str:
        """Return the digest of the corpus: names and bytes of files with the column, or the texts of a dataset."""
        if self.dataset is not None:
            return texts_digest
        contents = [[file.name, _file_digest(file.path)] for file in self.files]
        listed = json.dumps([self.column or "text", contents])
        return hashlib.sha256(listed.encode("utf-8", "surrogateescape")).hexdigest()


class _ShardBuilder:
    """Cuts texts into shards of one size as they come."""

    def __init__(self, size: int) -> None:
        self._size, self.texts, self._characters = size, 0, 0
        self._shards: list[Shard] = []
        self._all, self._digest, self._start = TextsDigest(), TextsDigest(), Start()

    def add(self, start: Start, text: str) -> None:
        """Add the next text, which begins at `start`."""
        if self.texts % self._size == 0:
            self._end()
            self._digest, self._start, self._characters = TextsDigest(), start, 0
        self._digest.add(text)
        self._characters += len(text)
        self._all.add(text)
        self.texts += 1

    def finish(self) -> tuple[tuple[Shard, ...], str]:
        """Return the shards, and the digest of all texts."""
        self._end()
        return tuple(self._shards), self._all.hexdigest()

    def _end(self) -> None:
        index = len(self._shards)
        first = index * self._size
        if self.texts > first:
            counts = first, self.texts - first
            self._shards.append(Shard(index, *counts, self._start, self._digest.hexdigest(), self._characters))


def _file_digest(path: Path) -> str:
    with damage_named(path), path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_on_error(on_error: str) -> None:
    if on_error not in ON_ERRORS:
        raise UsageError(f"unknown --on-error '{on_error}': expected {' or '.join(ON_ERRORS)}")
