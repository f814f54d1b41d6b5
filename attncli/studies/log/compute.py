"""The snapshots of checkpoints, for Python."""

from __future__ import annotations

from typing import Unpack

from attncli.arguments import checked
from attncli.engine.checkpoints import checkpoints_of
from attncli.engine.execution import Execution
from attncli.engine.request import Request, RunOptions
from attncli.inputs.texts import Texts, parse_texts
from attncli.studies.log.options import LogOptions
from attncli.studies.log.series import LogSeries
from attncli.studies.log.study import LogStudy
from attncli.vocabulary import LOG_PROBE_LENGTH, LOG_PROBE_SEQUENCES


@checked
def log(
    model: str,
    text: Texts,
    *,
    probe_length: int = LOG_PROBE_LENGTH,
    sequences: int = LOG_PROBE_SEQUENCES,
    held_out: Texts | None = None,
    **run_options: Unpack[RunOptions],
) -> LogSeries:
    """Return what the heads of every checkpoint of a training show on the same texts, one model after another.

    model         pattern of model folders, such as "runs/checkpoint-*", or one model
    probe_length  number of random tokens that causal models read twice, for the scores of heads that copy; 0 for none
    sequences     number of sequences of random tokens, drawn with the seeds 0, 1, …
    held_out      texts that the model was not trained on: how much more rigid heads are on the others
    run_options   options of the forward pass, as in `attncli.RunOptions`: kind, layer and head select;
                  `metrics` are the metrics of heads, by default the main ones
    Raise UsageError if nothing matches, or if the checkpoints have other heads or read other tokens.
    """
    metrics = run_options.pop("metrics", None)
    names = [metrics] if isinstance(metrics, str) else metrics
    options = LogOptions(None if names is None else list(names), probe_length, sequences)
    others = () if held_out is None else tuple(parse_texts(held_out))
    study, request = LogStudy(options, checkpoints_of(model), others), Request.of(run_options)
    study.check(request)
    return study.run(Execution(request, parse_texts(text), arguments={"name": model}))[1]
