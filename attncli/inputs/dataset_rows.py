"""The rows of a dataset of Hugging Face: one that was saved, a folder of files, or one of the Hub."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attncli.errors import UsageError, did_you_mean, shortened
from attncli.inputs.parquet_rows import ForwardRows
from attncli.inputs.row_values import TextRow, cell_text, check_column
from attncli.inputs.text_files import close_names
from attncli.paths import what_is_at

_BLOCK = 512
_LONGEST_REASON = 240


class DatasetRows(ForwardRows):
    """The rows of one split of a dataset; those of a stream can be read only forward.

    name  a folder, a name on the Hub, or `NAME:CONFIG`
    """

    def __init__(self, name: str, split: str | None, column: str, streaming: bool) -> None:
        super().__init__()
        self._name, self._column, self._streaming = name, column, streaming
        with _errors_named(name):
            self._dataset = _load(name, split, streaming)
        names = self._dataset.column_names
        if names is not None:
            check_column(name, column, list(names))
            self._dataset = self._dataset.select_columns([column])

    def _last_start(self, offset: int) -> int:
        return 0 if self._streaming else offset

    def _rows_from(self, start: int) -> Iterator[TextRow]:
        with _errors_named(self._name):
            for offset, cell in enumerate(self._cells(start), start=start):
                yield TextRow(offset, offset + 1, self._text(offset + 1, cell))

    def _cells(self, start: int) -> Iterator[object]:
        if not self._streaming:
            for first in range(start, len(self._dataset), _BLOCK):
                yield from self._dataset[first : first + _BLOCK][self._column]
            return
        for row in self._dataset:
            check_column(self._name, self._column, list(row))
            yield row[self._column]

    def _text(self, number: int, cell: object) -> str | UsageError:
        try:
            return cell_text(f"{self._name}, row {number}", self._column, cell)
        except UsageError as error:
            return error


def _load(name: str, split: str | None, streaming: bool) -> Any:
    """Return a split of a dataset; code that comes with a dataset is never run."""
    folder, kind = Path(name), what_is_at(name)
    if kind == "file":
        raise UsageError(f"expected a dataset, but {name} is a file: read it with --file")
    is_folder = kind == "folder"
    if not is_folder and (name.startswith((".", "/", "~")) or name.count("/") > 1):
        raise UsageError(f"no such folder: {name}; expected a folder, or a dataset of the Hub such as owner/name")
    datasets = _package()
    with _quiet_libraries():
        if is_folder and ((folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file()):
            return _saved(name, datasets.load_from_disk(name), split)
        dataset, _, config = (name, "", "") if is_folder else name.partition(":")
        if split is None:
            split = _only_split(name, datasets.get_dataset_split_names(dataset, config or None))
        return datasets.load_dataset(dataset, config or None, split=split, streaming=streaming)


def _saved(name: str, loaded: Any, split: str | None) -> Any:
    """Return a split of a saved dataset."""
    if not isinstance(loaded, dict):
        if split is not None:
            raise UsageError(f"{name} is saved without splits: leave out --split {split}")
        return loaded
    if split is None:
        split = _only_split(name, list(loaded))
    if split not in loaded:
        raise UsageError(f"{name} has no split '{split}': {did_you_mean(split, loaded)}")
    return loaded[split]


def _package() -> Any:
    """Return the package datasets."""
    try:
        import datasets
    except ImportError as error:
        raise UsageError('--dataset needs the package datasets: pip install "attncli[datasets]"') from error
    return datasets


def _only_split(name: str, splits: list[str]) -> str:
    if len(splits) != 1:
        raise UsageError(f"{name} has the splits {', '.join(splits)}: choose one with --split")
    return splits[0]


@contextmanager
def _quiet_libraries() -> Iterator[None]:
    """Let the libraries of datasets print errors only: what they say of missing descriptions concerns nobody here."""
    loggers = [logging.getLogger(name) for name in ("datasets", "huggingface_hub")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


@contextmanager
def _errors_named(name: str) -> Iterator[None]:
    """Raise UsageError in the place of any error of the package, which has many."""
    try:
        yield
    except UsageError:
        raise
    except Exception as error:
        reason = shortened(" ".join(str(error).split()) or type(error).__name__, _LONGEST_REASON)
        hint = close_names(Path(name)) if what_is_at(name) == "nothing" else ""
        raise UsageError(f"cannot read the dataset {name}: {reason}{hint}") from error
