"""Options of how a corpus is read: they change the time that it takes, never the numbers."""

from dataclasses import dataclass

from attncli.options import option
from attncli.vocabulary import ENGINES

_PANEL = "Corpus"


@dataclass(frozen=True)
class CorpusOptions:
    """Options of the processes that read a corpus, which is cut into shards."""

    engine: str = option(
        _PANEL,
        "what computes the shards of a corpus: processes of this machine, or of a Ray cluster; both write the same "
        "bytes. Example: --engine ray --workers 8",
        choices=ENGINES,
        default=ENGINES[0],
    )
    workers: int | None = option(
        _PANEL,
        "processes, each with a model of its own (default: as many as there are cores and memory for; 1 on a GPU and "
        "with --engine ray)",
        metavar="N",
    )
    threads: int = option(
        _PANEL,
        "threads of each process; with other numbers of threads the last digits may differ, with other numbers of "
        "workers they do not",
        metavar="N",
        default=1,
    )
    address: str | None = option(
        _PANEL,
        "Ray cluster to join: auto for the one of this machine, or HOST:PORT; by default that of the variable "
        "RAY_ADDRESS, else a Ray of its own, which ends with the command",
        metavar="auto|HOST:PORT",
    )
    gpus_per_worker: float | None = option(
        _PANEL,
        "GPUs of each worker of Ray; with 0.5 two share one (default: 1 if the cluster has GPUs)",
        metavar="N",
    )
    resume: bool = option(
        _PANEL, "keep the shards that an interrupted run has left in the folder", "--resume/--no-resume", default=True
    )


CORPUS_DEFAULTS = CorpusOptions()
"""The options of a command that was given none of them, or has none."""
