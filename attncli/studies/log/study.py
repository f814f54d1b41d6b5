"""The study `log`: what heads show at each checkpoint of a training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from attncli.engine.report import Report
from attncli.engine.study import Study
from attncli.errors import ModelError, UsageError
from attncli.options import SelectionOptions
from attncli.shell import shell_line
from attncli.studies.log.options import LogOptions

if TYPE_CHECKING:  # the help of the command line needs no NumPy
    from rich.table import Table

    from attncli.data import Input, Text
    from attncli.engine.checkpoints import Checkpoint
    from attncli.engine.collected import Collected
    from attncli.engine.execution import Execution
    from attncli.engine.request import Request
    from attncli.studies.log.result import Snapshot
    from attncli.studies.log.series import LogSeries


@dataclass(frozen=True)
class LogStudy(Study["LogSeries"]):
    """What the heads of every checkpoint show on the same texts.

    checkpoints  the checkpoints in the order of their steps
    held_out     texts that the model was not trained on
    """

    options: LogOptions = field(default_factory=LogOptions)
    checkpoints: tuple[Checkpoint, ...] = ()
    held_out: tuple[Text, ...] = ()
    name = "log"
    group = LogOptions

    def adapt(self, selection: SelectionOptions, from_saved_run: bool) -> Self:
        if from_saved_run:
            raise UsageError("log runs models on texts: leave out --from and --module")
        return self

    def resolved(self) -> dict[str, Any]:
        """Return the options that change the result: texts by their hash instead of the file that names them."""
        from attncli.store import input_sha256

        names = [checkpoint.name for checkpoint in self.checkpoints]
        held_out = input_sha256(self.held_out) if self.held_out else None
        resolved = {**super().resolved(), "checkpoints": names, "held_out": held_out}
        resolved.pop("tensorboard")
        return resolved

    def check(self, request: Request) -> None:
        from attncli.store.events import check_events_folder, check_tensorboard
        from attncli.studies.log.snapshot import check_snapshot

        if self.options.tensorboard is not None:
            check_tensorboard()
            check_events_folder(self.options.tensorboard, "--tensorboard")
        check_snapshot(self.options.measured, request)
        if request.generate:
            raise UsageError(
                "--generate: each checkpoint would read a text of its own; generate one, give it as --text"
            )

    def check_texts(self, texts: Sequence[Text]) -> None:
        """Raise UsageError if the rigidity of these texts cannot be compared with that of held-out ones."""
        from attncli.engine.paired_tests import check_scipy

        if self.held_out and len(texts) < 2:
            raise UsageError(
                "--held-out compares heads with their map by position in other texts: give several texts, not one"
            )
        if self.held_out:
            check_scipy(max(len(texts), len(self.held_out)))

    def run(self, execution: Execution) -> tuple[Collected, LogSeries]:
        """Return the run of the first checkpoint over the texts, and the snapshots of all; one model at a time."""
        from attncli.engine.checkpoints import check_same_heads, head_keys_of
        from attncli.engine.on_checkpoints import each_checkpoint
        from attncli.engine.paired_tests import FEWEST
        from attncli.engine.runner import merge_infos
        from attncli.studies.log.series import LogSeries, diverged_note, overlap_note

        self.check_texts(execution.texts)
        measured: list[Checkpoint] = []
        runs: list[Collected] = []
        snapshots: list[Snapshot] = []
        for checkpoint, own in each_checkpoint(execution, self.checkpoints, "measuring"):
            if (found := self._snapshot(own, checkpoint)) is not None:
                run, shown = found
                measured.append(checkpoint)
                runs.append(run)
                snapshots.append(shown)
                names = measured[0].name, checkpoint.name
                check_same_heads(head_keys_of(snapshots[0].heads), head_keys_of(shown.heads), names)
                check_same_tokens(runs[0].inputs, run.inputs, names)
        diverged = [checkpoint.name for checkpoint in self.checkpoints if checkpoint not in measured]
        notes = dict.fromkeys(diverged_note(diverged, len(self.checkpoints)))
        info = replace(merge_infos([run.info for run in runs]), model=execution.arguments["name"])
        notes |= dict.fromkeys(note for shown in snapshots for note in shown.notes)
        notes |= dict.fromkeys(overlap_note(execution.texts, self.held_out))
        if self.held_out and min(len(execution.texts), len(self.held_out)) < FEWEST:
            notes[f"no interval of rigidity_difference: give {FEWEST} texts or more of each set"] = None
        return replace(runs[0], info=info).with_notes(*notes), LogSeries(measured, snapshots)

    def _snapshot(self, execution: Execution, checkpoint: Checkpoint) -> tuple[Collected, Snapshot] | None:
        """Load a checkpoint and return what it shows; None if parameters are not finite.

        execution  the execution on its model
        Raise ModelError that names it if it cannot be measured.
        """
        from attncli.engine.progress import untracked
        from attncli.models.state import has_finite_parameters
        from attncli.studies.log.snapshot import take_snapshot

        runner = execution.runner
        if not has_finite_parameters(runner.loaded.model):
            return None
        if runner.loaded.is_encoder_decoder:
            if any(text.target is None for text in execution.texts):
                raise UsageError("each checkpoint would read a target that it writes itself: give one with --target")
            if any(text.target is None for text in self.held_out):
                raise UsageError(
                    "--held-out has texts without a target, which each checkpoint would write itself: leave it out"
                )
        own = replace(execution, existing=None, load=lambda: runner, track=untracked)
        try:
            return take_snapshot(own, self.options.measured, checkpoint.step, checkpoint.name, self.held_out)
        except ModelError as error:
            raise ModelError(f"{checkpoint.name}: {error}") from error

    def report(self, result: LogSeries, run: Collected) -> Report:
        from attncli.studies.log.report import log_report

        report, folder = log_report(result, run), self.options.tensorboard
        if folder is None:
            return report
        from attncli.studies.log.events import event_files, outdated_files

        files = event_files(result, folder, run.info.model)
        notes = tuple(f"to see it: {shell_line(['tensorboard', '--logdir', folder])}" for _ in files)
        return replace(report, more_files=files, outdated=outdated_files(files), notes=(*report.notes, *notes))

    def terminal(self, result: LogSeries, run: Collected) -> Iterator[Table]:
        from attncli.studies.log.terminal import log_tables

        return log_tables(result)


def check_same_tokens(first: tuple[Input, ...], other: tuple[Input, ...], names: tuple[str, str]) -> None:
    """Raise UsageError if two checkpoints read the texts as different tokens."""
    pieces = [
        [side.pieces for text in texts for side in (text.source, text.target) if side] for texts in (first, other)
    ]
    if pieces[0] != pieces[1]:
        raise UsageError(
            f"'{names[0]}' and '{names[1]}' read the texts as different tokens: "
            "expected checkpoints of one model, give a pattern that matches only these"
        )
