"""A callback that measures attention in a training: by the Trainer of Transformers, Lightning or a loop of your own."""

from __future__ import annotations

import logging
import math
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, Self

import torch
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from attncli.arguments import checked
from attncli.data.named_heads import HeadsOption, parse_heads
from attncli.engine.request import Request, metric_names
from attncli.errors import UsageError
from attncli.inputs.texts import Texts, parse_texts
from attncli.integrations.observer import Observation, Observer
from attncli.integrations.reporters import (
    lightning_folder,
    log_to_loggers,
    log_to_trainer,
    model_in,
    other_reporters,
)
from attncli.store.events import EventFile, check_events_folder, check_tensorboard
from attncli.studies.log.options import SnapshotOptions
from attncli.studies.log.result import Snapshot
from attncli.studies.log.snapshot import check_snapshot

_log = logging.getLogger("attncli")
_LONGEST = 300


class AttentionCallback(TrainerCallback):
    """Measures the attention of a model in training on some texts, and shows it in TensorBoard and other tools.

        callback = AttentionCallback(["The cat sat on the mat."], every=100, heads="1.3")
        trainer = Trainer(model, args, train_dataset=data, processing_class=tokenizer, callbacks=[callback])
        callback.attach(trainer)  # only for W&B, MLflow and others besides TensorBoard

    The model, its mode and gradients, and all random numbers stay as they are: the training has the same result. An
    error never stops it: a warning says why, and nothing more is measured until the next training.
    """

    @checked
    def __init__(
        self,
        texts: Texts,
        every: int | Literal["eval"] = "eval",
        *,
        metrics: Sequence[str] | str | None = None,
        heads: HeadsOption = (),
        pictures: bool = True,
        logdir: str | os.PathLike[str] | None = None,
        tokenizer: Any = None,
        probe_length: int | None = None,
    ) -> None:
        """Check the arguments; raise UsageError for a wrong one, OutputError if nothing can be written into `logdir`.

        texts         the texts that the model reads; the same ones at each step
        every         eval: whenever the Trainer evaluates; or a number of steps
        metrics       names of metrics, or "all"; a few by default
        heads         heads that are shown by themselves: "1.3", "1.3,2.4", 4 (a whole layer), "all"
        pictures      whether the maps of `heads` on the first text are drawn
        logdir        folder of the event files; by default `attention` in the folder of the Trainer's own
        tokenizer     needed where no Trainer has it
        probe_length  number of random tokens that a causal model reads twice, for its induction heads; 0 for none
        """
        self._observer = _observer(texts, metrics, heads, pictures, probe_length)
        self._every, self._tokenizer = _checked_every(every), tokenizer
        self._logdir = None if logdir is None else Path(logdir)
        if self._logdir is not None:
            check_tensorboard()
            check_events_folder(self._logdir, "logdir")
        self._trainer: Trainer | None = None
        self._start()

    def _start(self) -> None:
        """Forget the training before."""
        self._file: EventFile | None = None
        self._last_step: int | None = None
        self._failed = self._began = False
        self._noted: set[str] = set()

    def attach(self, trainer: Trainer) -> Self:
        """Give the numbers to all that a Trainer reports to, by `Trainer.log`; return the callback.

        The Trainer gets the callback, unless it has it already. Nothing is printed, and TensorBoard gets the numbers
        from the event file alone.
        """
        if not isinstance(trainer, Trainer):
            raise UsageError(f"expected a Trainer of Transformers to attach to, got {type(trainer).__name__}")
        if self not in trainer.callback_handler.callbacks:
            trainer.add_callback(self)
        self._trainer = trainer
        return self

    # ------------------------------------------------------------------------------------ a loop of your own

    def log(self, model: Any, step: int, *, tokenizer: Any = None) -> Snapshot | None:
        """Measure a model now and write the numbers into `logdir`; return what was measured, or None.

        With `every=N`, only steps that are multiples of N are measured, each step once, and on the first process only.
        """
        if not is_first_process() or (isinstance(self._every, int) and step % self._every):
            return None
        return self._measure(lambda: model, tokenizer, step)

    # --------------------------------------------------------------------------------------------- Lightning

    def on_validation_end(self, trainer: Any, module: Any) -> None:
        """Measure the Transformers model in a module of Lightning after each validation, for all its loggers."""
        if getattr(trainer, "sanity_checking", False) or not getattr(trainer, "is_global_zero", True):
            return
        step = trainer.global_step
        self._measure(
            lambda: model_in(module),
            getattr(module, "tokenizer", None),
            step,
            folder=lambda: lightning_folder(trainer),
            report=lambda scalars: log_to_loggers(trainer, scalars, step),
        )

    # ------------------------------------------------------------------------------ the Trainer of Transformers

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Begin a new event file; measure the model before its first step if it is measured every N steps."""
        self._start()
        if not state.is_world_process_zero:
            return
        if self._every == "eval" and args.eval_strategy == "no":
            self._note("the Trainer never evaluates, so nothing is measured: give every=N, a number of steps")
        if (others := other_reporters(args.report_to)) and self._trainer is None:
            named = ", ".join(others)
            self._note(f"attention goes to TensorBoard alone: callback.attach(trainer) also gives it to {named}")
        self.on_step_end(args, state, control, **kwargs)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Measure the model if the number of steps is a multiple of `every`."""
        if isinstance(self._every, int) and state.global_step % self._every == 0:
            self._of_trainer(args, state, kwargs)

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Measure the model after an evaluation if `every` is eval."""
        if self._every == "eval":
            self._of_trainer(args, state, kwargs)

    def _of_trainer(self, args: TrainingArguments, state: TrainerState, given: Mapping[str, Any]) -> None:
        if state.is_world_process_zero:
            trainer = self._trainer
            self._measure(
                lambda: given.get("model"),
                given.get("processing_class"),
                state.global_step,
                folder=lambda: _trainer_folder(args),
                report=None if trainer is None else lambda scalars: log_to_trainer(trainer, scalars),
            )

    # ------------------------------------------------------------------------------------------------ all of them

    def _measure(
        self,
        model: Callable[[], Any],
        tokenizer: Any,
        step: int,
        *,
        folder: Callable[[], Path] | None = None,
        report: Callable[[Mapping[str, float]], None] | None = None,
    ) -> Snapshot | None:
        """Measure and show one step, unless it was measured or something failed before; on an error, note it."""
        if self._failed or step == self._last_step:
            return None
        self._last_step = step
        try:
            tokenizer = tokenizer if self._tokenizer is None else self._tokenizer
            measured = self._observer.measure(model(), tokenizer, step)
            self._write(measured, folder, report)
        except Exception as error:  # a training is never stopped by its observer
            self._failed = True
            reason = f"{error}".splitlines()[0][:_LONGEST] if f"{error}" else type(error).__name__
            self._note(f"attention is no longer measured: {reason}")
            return None
        return measured.snapshot

    def _write(
        self,
        measured: Observation,
        folder: Callable[[], Path] | None,
        report: Callable[[Mapping[str, float]], None] | None,
    ) -> None:
        for note in measured.notes:
            self._note(note)
        if not self._began:
            self._began, self._file = True, self._open(folder, has_reporters=report is not None)
        if self._file is not None:
            self._file.add(measured.events)
        if report is not None:
            report({tag: value for tag, value in measured.events.scalars.items() if math.isfinite(value)})

    def _open(self, folder: Callable[[], Path] | None, has_reporters: bool) -> EventFile | None:
        """Return the file that TensorBoard reads; None if there is no folder for it, or no TensorBoard but others."""
        place = folder() if self._logdir is None and folder is not None else self._logdir
        if place is None:
            return None
        try:
            return EventFile(place)
        except UsageError as error:
            if not has_reporters:
                raise
            self._note(str(error))
            return None

    def _note(self, text: str) -> None:
        """Say something once in a training, by logging, which never raises an error."""
        if text not in self._noted:
            self._noted.add(text)
            _log.warning("AttentionCallback: %s", text)


def _observer(
    texts: Texts, metrics: Sequence[str] | str | None, heads: HeadsOption, pictures: bool, probe_length: int | None
) -> Observer:
    """Return what measures; raise UsageError if an argument is wrong."""
    options = SnapshotOptions()
    if metrics is not None:
        options = replace(options, metrics=metric_names(metrics))
    if probe_length is not None:
        options = replace(options, probe_length=probe_length)
    check_snapshot(options, Request())
    chosen = parse_heads(heads) or (() if heads in ((), [], None) else ("all",))
    return Observer(tuple(parse_texts(texts)), options, chosen, pictures)


def is_first_process() -> bool:
    """Return whether this process measures: the first one of a training by several, or the only one."""
    # PyTorch can be built without torch.distributed
    is_one_of_many = torch.distributed.is_available() and torch.distributed.is_initialized()
    return not is_one_of_many or torch.distributed.get_rank() == 0


def _checked_every(every: int | str) -> int | str:
    is_number = isinstance(every, int) and not isinstance(every, bool) and every >= 1
    if not is_number and every != "eval":
        raise UsageError(f'expected every as "eval" or a number of steps from 1 up, got {every!r:.60}')
    return every


def _trainer_folder(args: TrainingArguments) -> Path:
    """Return the folder of event files, beside that of the Trainer's own: named by time and computer."""
    if folder := os.environ.get("TENSORBOARD_LOGGING_DIR"):
        return Path(folder).expanduser() / "attention"
    name = f"{datetime.now():%b%d_%H-%M-%S}_{socket.gethostname()}"
    return Path(str(args.output_dir), "runs", name, "attention")
