"""The study `repeated`: which heads find earlier copies of a token, by tokens that come twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Self

from attncli.engine.checks import check_seeds
from attncli.engine.report import Report
from attncli.engine.study import ResultT, Study
from attncli.errors import UsageError, did_you_mean
from attncli.options import SelectionOptions
from attncli.studies.repeated.options import RepeatedOptions
from attncli.vocabulary import PROBES

if TYPE_CHECKING:  # the help of the command line needs no NumPy
    from rich.table import Table

    from attncli.engine.collected import Collected
    from attncli.engine.execution import Execution
    from attncli.engine.passes import Pass
    from attncli.engine.request import Request
    from attncli.engine.runner import Runner
    from attncli.inputs.repeated_inputs import Passage, RepeatedTokens
    from attncli.studies.repeated.result import Losses, Repeated


@dataclass(frozen=True)
class ProbeStudy(Study[ResultT]):
    """A study that reads passages twice with one model or with several.

    passages  texts of the user; without any, random tokens are read
    """

    options: RepeatedOptions = field(default_factory=RepeatedOptions)
    passages: tuple[str, ...] = ()
    name = "repeated"
    command = "patterns"
    group = RepeatedOptions
    reads = False

    def adapt(self, selection: SelectionOptions, from_saved_run: bool) -> Self:
        options = self.options
        if options.probe not in PROBES:
            raise UsageError(f"unknown --probe '{options.probe}': {did_you_mean(str(options.probe), PROBES)}")
        if from_saved_run:
            raise UsageError("--probe runs a model on tokens of its own, and --from has none: leave one of them out")
        return self

    def resolved(self) -> dict[str, Any]:
        """Return the options that change the result: passages instead of the options that name them."""
        return {**super().resolved(), "probe_text": list(self.passages)}

    def check(self, request: Request) -> None:
        if request.by == "norm":
            raise UsageError("patterns are of attention weights: leave out by='norm'")
        if request.combined:
            raise UsageError("patterns are of single heads: leave out --aggregate and --aggregate-layers")
        if self.options.length < 2:
            raise UsageError(f"expected --length from 2 tokens up, got {self.options.length}")
        check_seeds("--sequences", self.options.sequences, 1)

    def run_on(self, runner: Runner, execution: Execution) -> tuple[Collected, Repeated]:
        """Return the run of one model over the tokens, and the scores with the losses of both copies."""
        from attncli.capturing.losses import no_losses
        from attncli.engine.collected import Collected
        from attncli.store import input_sha256

        start, prepared, result = self._read(replace(execution, load=lambda: runner))
        info = replace(prepared.info_of(()), seed=None if self.passages else 0, input_sha256=input_sha256(()))
        run = Collected(info, tuple(prepared.inputs))
        if runner.loaded.is_encoder_decoder:
            run = run.with_notes("the decoder reads the passages that come twice, the encoder other random tokens")
        if problem := no_losses(runner.loaded):
            return run.with_notes(f"no losses of the two copies: {problem}"), result
        return run, replace(result, losses=_losses(prepared, start, result.lengths))

    def scores(self, execution: Execution) -> Repeated:
        """Return the scores without losses, whatever the texts of the execution are."""
        return self._read(execution)[2]

    def _read(self, execution: Execution) -> tuple[int, Pass, Repeated]:
        """Return the number of tokens before the passages, the pass over the repeated tokens, and the scores."""
        from attncli.inputs.repeated_inputs import RepeatedTokens
        from attncli.studies.repeated.passes import decoder_alone, read_twice

        runner = execution.runner
        tokens = RepeatedTokens.of(runner.loaded)
        request, passages = decoder_alone(tokens, execution.request), self._passages(tokens)
        (first, observed), (_, shuffled) = (
            read_twice(runner, tokens, passages, request, execution.track, again) for again in (True, False)
        )
        seeds = () if self.passages else tuple(range(self.options.sequences))
        return len(tokens.start), first, observed.result(shuffled, seeds=seeds, passages=self.passages)

    def _passages(self, tokens: RepeatedTokens) -> list[Passage]:
        if self.passages:
            return tokens.passages(self.passages)
        return tokens.random(self.options.length, range(self.options.sequences))


@dataclass(frozen=True)
class RepeatedStudy(ProbeStudy["Repeated"]):
    """Scores of all heads on passages that come twice; run by `attncli patterns --probe repeated`."""

    def run(self, execution: Execution) -> tuple[Collected, Repeated]:
        """Return the run over the tokens, and the scores with the losses of both copies."""
        run, result = self.run_on(execution.runner, execution)
        return execution.finish(run), result

    def report(self, result: Repeated, run: Collected) -> Report:
        from attncli.studies.repeated.report import repeated_report

        return repeated_report(result, run)

    def terminal(self, result: Repeated, run: Collected) -> Iterator[Table]:
        from attncli.studies.repeated.terminal import repeated_tables

        return repeated_tables(result)


def _losses(prepared: Pass, start: int, lengths: Sequence[int]) -> Losses:
    """Return the mean losses of both copies in each text of a pass over START r r; `lengths` are those of r."""
    import numpy as np

    from attncli.capturing.losses import token_losses
    from attncli.studies.repeated.result import Losses

    losses, halves = token_losses(prepared.loaded, prepared.batches), []
    for copy in (0, 1):
        spans = [slice(start + copy * length, start + (copy + 1) * length) for length in lengths]
        # without a start token the first token of all has no loss
        halves.append(np.array([np.nanmean(losses[text][span]) for text, span in enumerate(spans)]))
    return Losses(*halves)
