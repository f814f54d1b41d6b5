"""Where the numbers of a callback go besides TensorBoard: to whatever else a Trainer reports to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, Trainer

from attncli.errors import UsageError

_PRINTERS = ("PrinterCallback", "ProgressCallback", "NotebookProgressCallback")
"""Callbacks of Transformers that print what is logged: hundreds of numbers are no line to read."""
_TENSORBOARD = ("TensorBoardCallback", "TensorBoardLogger")
"""They get nothing, as the same numbers are in event files of the callback."""


def log_to_trainer(trainer: Trainer, scalars: Mapping[str, float]) -> None:
    """Give numbers to all that a Trainer of Transformers reports to, except what prints, and TensorBoard."""
    control = trainer.control
    logs_now = control.should_log
    with _without(trainer, (*_PRINTERS, *_TENSORBOARD)):
        # not the `log` of a subclass: those of TRL add means of the training and begin these anew
        Trainer.log(trainer, dict(scalars))
    trainer.control.should_log = control.should_log = logs_now  # else the Trainer would not log its own loss


def log_to_loggers(trainer: Any, scalars: Mapping[str, float], step: int) -> None:
    """Give numbers to the loggers of a Trainer of Lightning, except TensorBoard."""
    for logger in getattr(trainer, "loggers", ()):
        if not _is_one_of(logger, _TENSORBOARD):
            logger.log_metrics(dict(scalars), step=step)


def other_reporters(names: Any) -> list[str]:
    """Return the names of what a Trainer reports to, without TensorBoard."""
    listed = [names] if isinstance(names, str) else list(names or ())
    return [name for name in listed if name not in ("tensorboard", "none")]


def model_in(module: Any) -> Any:
    """Return the model of Transformers in a module of Lightning; raise UsageError unless there is one."""
    if isinstance(module, PreTrainedModel):
        return module
    found: dict[str, PreTrainedModel] = {}
    for name, part in module.named_modules():
        if isinstance(part, PreTrainedModel) and not any(f"{name}.".startswith(f"{outer}.") for outer in found):
            found[name] = part
    if not found:
        raise UsageError(f"{type(module).__name__} holds no Transformers model, whose attention could be measured")
    if len(found) > 1:
        call = f"callback.log(module.{next(iter(found))}, step)"
        raise UsageError(f"{type(module).__name__} holds several models: measure one by {call}")
    return next(iter(found.values()))


def lightning_folder(trainer: Any) -> Path:
    """Return the folder of event files for a training by Lightning, beside its other logs."""
    return Path(trainer.log_dir or trainer.default_root_dir) / "attention"


@contextmanager
def _without(trainer: Trainer, names: tuple[str, ...]) -> Iterator[None]:
    """Return a context in which a Trainer does not call its callbacks of these classes."""
    handler = trainer.callback_handler
    callbacks = handler.callbacks
    handler.callbacks = [callback for callback in callbacks if not _is_one_of(callback, names)]
    try:
        yield
    finally:
        handler.callbacks = callbacks


def _is_one_of(value: object, names: tuple[str, ...]) -> bool:
    return any(cls.__name__ in names for cls in type(value).__mro__)
