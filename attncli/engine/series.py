"""One command on every checkpoint of a pattern: which are complete, one table of all, and what changed most."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any

import numpy as np

from attncli.data import Array, RunInfo
from attncli.engine.checkpoints import Checkpoint, Heads, check_same_heads, model_files, step_column
from attncli.engine.invocation import Invocation
from attncli.engine.report import Report, Table
from attncli.engine.runner import Runner, merge_infos
from attncli.engine.series_changes import SeriesChange, largest_changes
from attncli.engine.study import Study
from attncli.engine.worker import PACKAGES
from attncli.errors import ModelError
from attncli.models.state import has_finite_parameters
from attncli.store.folder import run_document, run_info_from
from attncli.store.series_files import SeriesFiles
from attncli.store.tables import records
from attncli.store.text import json_line

OTHER_TOKENS = (
    "the checkpoints read different tokens, as each writes a text of its own or has another tokenizer: numbers differ "
    "for that reason too"
)


@dataclass(frozen=True, eq=False)
class CheckpointRun:
    """The finished run of the command on one checkpoint.

    header    what describes it: key, heads, inputs, columns and whether the table comes in parts
    manifest  the manifest of its folder
    """

    checkpoint: Checkpoint
    header: Mapping[str, Any]
    manifest: Mapping[str, Any]

    @property
    def info(self) -> RunInfo:
        """Where the results come from; notes name the checkpoint, not its path."""
        info = run_info_from(self.manifest["run"])
        path, name = self.checkpoint.path, self.checkpoint.name
        return replace(info, notes=tuple(note.replace(path, name) for note in info.notes))


@dataclass(eq=False)
class CheckpointSeries:
    """One command on the checkpoints of a pattern.

    invocation  the command, with the pattern as its model
    runs        the finished runs, in the order of the checkpoints
    left_out    why a checkpoint is left out, by its name
    """

    study: Study[Any]
    invocation: Invocation
    checkpoints: Sequence[Checkpoint]
    runs: list[CheckpointRun] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.folder = self.invocation.folder
        self.files = SeriesFiles(self.folder)
        self._heads: tuple[str, Heads] | None = None

    def on(self, checkpoint: Checkpoint) -> tuple[Study[Any], Invocation]:
        """Return the study and the command on one checkpoint, as if its folder were the model."""
        own, study = self.invocation, self.study.of_checkpoint(checkpoint)
        assert isinstance(own.source, Mapping)  # a saved run is no pattern
        changed = {name: value for name, value in study.resolved().items() if name in own.options}
        invocation = replace(
            own,
            source={**own.source, "name": checkpoint.path},
            output=replace(own.output, out=str(self.folder.path / checkpoint.name)),
            options={**own.options, **changed},
            typed={**own.typed, **study.typed(), "model": checkpoint.path},
            on_load=lambda runner: self._check_model(checkpoint, runner),
        )
        return study, invocation

    def finished(self, checkpoint: Checkpoint) -> CheckpointRun | None:
        """Return the run on a checkpoint if an earlier command has finished it, and nothing has changed since."""
        header = self.files.header(checkpoint.name)
        _, invocation = self.on(checkpoint)
        if header is None or header.get("key") != self._key(checkpoint, invocation):
            return None
        manifest = self.files.manifest(checkpoint.name, invocation.folder.digest)
        return None if manifest is None else CheckpointRun(checkpoint, header, manifest)

    def keep(self, checkpoint: Checkpoint, report: Report, manifest: Mapping[str, Any]) -> CheckpointRun:
        """Keep what is needed of the run on a checkpoint, so that the same command need not repeat it."""
        table = next(iter(report.tables.values()), None)
        parts = table.parts if isinstance(table, Table) else [] if table is None else [table]
        first = next(iter(parts), {})
        header = {
            "key": self._key(checkpoint, self.on(checkpoint)[1]),
            "heads": None if self._heads is None else self._heads[1],
            "inputs": [] if report.document is None else report.document.get("inputs", []),
            "columns": {name: column.dtype.kind for name, column in first.items()},
            "in_parts": isinstance(table, Table),
        }
        self.files.write(checkpoint.name, header, parts)
        return CheckpointRun(checkpoint, header, manifest)

    def leave_out(self, checkpoint: Checkpoint, error: ModelError) -> str:
        """Leave out a checkpoint whose model cannot be run; return a note that says so."""
        self.left_out[checkpoint.name] = str(error).replace(checkpoint.path, checkpoint.name)
        return self._left_out_note(checkpoint.name)

    def add(self, run: CheckpointRun) -> None:
        """Add the run on the next checkpoint; raise UsageError if its heads are not those of the others."""
        if (heads := run.header["heads"]) is not None:
            self._check_heads(run.checkpoint, [(kind, layer, head) for kind, layer, head in heads])
        self.runs.append(run)
        self.folder.add_subfolder(run.checkpoint.name)

    def changes(self) -> list[SeriesChange]:
        """Return the largest change of each measure from the first to the last checkpoint; none if they have none."""
        if len(self.runs) < 2 or any(run.header["in_parts"] for run in self.runs):
            return []
        first, last = (next(self.files.parts(self.runs[at].checkpoint.name), {}) for at in (0, -1))
        return largest_changes(first, last)

    def report(self) -> Report:
        """Return the document and the joined table; only where the results come from if the study has no table."""
        info = self._info()
        if not any(run.header["columns"] for run in self.runs):
            return Report(info)
        rows = JoinedRows(self.files, self.runs)
        in_parts = any(run.header["in_parts"] for run in self.runs)
        document = {
            "schema": "attncli.series/1",
            "run": run_document(info, given=False),
            "inputs": self.runs[0].header["inputs"],
            "command": self.invocation.command,
            "checkpoints": [self._entry(checkpoint) for checkpoint in self.checkpoints],
            "changes": [change.document for change in self.changes()],
            "rows": [] if in_parts else [row for part in rows for row in records(part)],
        }
        return Report(info, document, {f"{self.study.name}-series": Table(rows)})

    def _info(self) -> RunInfo:
        """Return where the results come from, with the notes of all runs, and which checkpoints are left out."""
        assert isinstance(self.invocation.source, Mapping)
        notes = [*map(self._left_out_note, self.left_out)]
        if any(run.header["inputs"] != self.runs[0].header["inputs"] for run in self.runs):
            notes.append(OTHER_TOKENS)
        info = merge_infos([run.info for run in self.runs])
        info = replace(info, model=self.invocation.source["name"], notes=(*notes, *info.notes))
        return replace(info, given=dict(self.invocation.typed), resolved=self.invocation.resolved)

    def _left_out_note(self, name: str) -> str:
        return f"{name} is left out: {self.left_out[name]}"

    def _entry(self, checkpoint: Checkpoint) -> dict[str, Any]:
        return {
            "checkpoint": checkpoint.name,
            "step": checkpoint.step,
            "left_out": self.left_out.get(checkpoint.name),
        }

    def _key(self, checkpoint: Checkpoint, invocation: Invocation) -> str:
        """Return a hash of all that the results of a checkpoint depend on."""
        versions = [*map(version, PACKAGES)]
        parts = [self.study.name, invocation.folder.digest, *versions, model_files(checkpoint.path)]
        return hashlib.sha256(json_line(parts).encode()).hexdigest()

    def _check_model(self, checkpoint: Checkpoint, runner: Runner) -> None:
        """Raise ModelError if the parameters of a model are not finite, UsageError if it has other heads."""
        if not has_finite_parameters(runner.loaded.model):
            raise ModelError("some of its parameters are not finite")
        request = replace(self.invocation.request, any_axes=self.study.any_axes)
        selected = runner.selected_heads(request).items()
        self._check_heads(checkpoint, [(kind, layer, head) for (kind, layer), heads in selected for head in heads])

    def _check_heads(self, checkpoint: Checkpoint, heads: Heads) -> None:
        self._heads = self._heads or (checkpoint.name, heads)
        check_same_heads(self._heads[1], heads, (self._heads[0], checkpoint.name))


@dataclass(frozen=True, eq=False)
class JoinedRows:
    """The main tables of all checkpoints, one after another, with the columns checkpoint and step before the others.

    It can be read several times, and one part of one table is in memory. A column that a table lacks is undefined in
    its rows.
    """

    files: SeriesFiles
    runs: Sequence[CheckpointRun]

    def __iter__(self) -> Iterator[dict[str, Array]]:
        kinds: dict[str, set[str]] = {}
        for run in self.runs:
            for name, kind in run.header["columns"].items():
                kinds.setdefault(name, set()).add(kind)
        steps = step_column([run.checkpoint.step for run in self.runs])
        for run, step in zip(self.runs, steps, strict=True):
            name = run.checkpoint.name
            for part in self.files.parts(name):
                rows = len(next(iter(part.values()), ()))
                columns = {key: _as_kinds(part.get(key), kinds[key], rows) for key in kinds}
                yield {"checkpoint": np.full(rows, name, dtype=object), "step": np.full(rows, step), **columns}


def _as_kinds(column: Array | None, kinds: set[str], rows: int) -> Array:
    """Return a column in the type that all tables share; undefined if this table has none."""
    if column is None:
        return np.full(rows, np.nan) if kinds <= {"f", "i", "u"} else np.full(rows, None, dtype=object)
    if kinds <= {"f", "i", "u"}:
        return column.astype(float) if "f" in kinds else column
    return column if len(kinds) == 1 else column.astype(object)
