"""Options of `attncli log`, and of what is measured at one step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from attncli import registry
from attncli.options import StudyOptions, option
from attncli.vocabulary import LOG_METRICS, LOG_PROBE_LENGTH, LOG_PROBE_SEQUENCES


@dataclass(frozen=True)
class SnapshotOptions:
    """What is measured at one step.

    metrics       names of the metrics of heads; positions and other categories have no mean, so they are refused
    probe_length  number of random tokens that are read twice, for the scores of heads that copy; 0 for no such pass
    sequences     number of sequences of random tokens, drawn with the seeds 0, 1, …
    """

    metrics: Sequence[str] = LOG_METRICS
    probe_length: int = LOG_PROBE_LENGTH
    sequences: int = LOG_PROBE_SEQUENCES


@dataclass(frozen=True)
class LogOptions(StudyOptions):
    """What is measured of every checkpoint."""

    metric: list[str] | None = option(
        "Log",
        f"metric of heads; may be repeated (default: {', '.join(LOG_METRICS)})",
        metavar="NAME",
        complete=partial(registry.names, "metrics"),
    )
    probe_length: int = option(
        "Log",
        "random tokens that causal models read twice, for heads that copy; 0: none",
        metavar="N",
        default=LOG_PROBE_LENGTH,
    )
    sequences: int = option(
        "Log",
        "number of sequences of random tokens, drawn with the seeds 0, 1, …",
        metavar="N",
        default=LOG_PROBE_SEQUENCES,
    )

    held_out: str | None = option(
        "Log",
        "texts that the model was not trained on, as for --file: whether heads are more rigid on those of --file "
        "(attncli explain rigidity)",
        metavar="PATH",
    )
    tensorboard: str | None = option(
        "Log",
        "also write an event file for TensorBoard, into a subfolder of this folder; the same command replaces it; "
        'needs pip install "attncli[tensorboard]"',
        metavar="DIR",
    )

    @property
    def measured(self) -> SnapshotOptions:
        """What is measured of each checkpoint."""
        names = [name.strip() for value in self.metric or () for name in value.split(",")]
        return SnapshotOptions(names or LOG_METRICS, self.probe_length, self.sequences)
