"""The study `prune`: what does the output lose without many heads at once?"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from attncli.engine.report import Report
from attncli.engine.study import Study
from attncli.errors import UsageError, did_you_mean
from attncli.studies.importance.options import ImportanceOptions
from attncli.studies.prune.options import PruneOptions
from attncli.studies.prune.stopping import check_stop
from attncli.vocabulary import IMPORTANCE_METHODS, PRUNING_UNITS, RANDOM_ORDERS

if TYPE_CHECKING:  # the help of the command line needs no NumPy: what loads it is imported in functions
    from rich.table import Table

    from attncli.data import Text
    from attncli.engine.checkpoints import Checkpoint
    from attncli.engine.collected import Collected
    from attncli.engine.execution import Execution
    from attncli.engine.request import Request
    from attncli.studies.importance.result import Importance
    from attncli.studies.prune.result import Pruning


@dataclass(frozen=True)
class PruneStudy(Study["Pruning"]):
    """The curve of the output against the share of heads that are removed.

    ranked      a result of `importance` that orders heads, instead of a file or a measurement
    rank_texts  texts that rank heads, instead of a file or one half of the texts
    force       whether a model in the folder of `save` is replaced
    """

    options: PruneOptions = field(default_factory=PruneOptions)
    ranked: Importance | None = None
    rank_texts: Sequence[Text] | None = None
    force: bool = False
    name = "prune"
    uncompiled = "passes with gradients or edits"
    group = PruneOptions

    def resolved(self) -> dict[str, Any]:
        """Return the options that change the result; files by what they contain."""
        from attncli.store import input_sha256
        from attncli.studies.prune.compute import file_sha256

        values = {**asdict(self.options), "save": self.options.save is not None}
        if self.options.importance is not None:
            values["importance"] = file_sha256(self.options.importance)
        if self.options.rank_file is not None:
            values["rank_file"] = input_sha256(self.texts_for_ranking())
        return values

    def of_checkpoint(self, checkpoint: Checkpoint) -> Self:
        """Return the study that saves the model without heads into a folder of its own."""
        if self.options.save is None:
            return self
        return replace(self, options=replace(self.options, save=str(Path(self.options.save, checkpoint.name))))

    def check(self, request: Request) -> None:
        options = self.options
        if options.unit not in PRUNING_UNITS:
            raise UsageError(f"unknown --unit '{str(options.unit)[:60]}': {did_you_mean(options.unit, PRUNING_UNITS)}")
        for name, least in {"seed": 0, "steps": 1, "orders": RANDOM_ORDERS}.items():
            value = getattr(options, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise UsageError(f"expected --{name} to be a number from {least} up, got {value!r:.60}")
        if options.method not in IMPORTANCE_METHODS:
            near = did_you_mean(str(options.method), IMPORTANCE_METHODS)
            raise UsageError(f"unknown --method '{str(options.method)[:60]}': {near}")
        check_stop(options)
        if (options.importance is not None or self.ranked is not None) and options.steps > 1:
            raise UsageError("--steps ranks heads anew, --importance takes their order: leave one of them out")
        if (options.importance is not None or self.ranked is not None) and options.method != IMPORTANCE_METHODS[0]:
            raise UsageError("--method ranks heads, --importance takes their order: leave one of them out")
        if request.combined or request.words or request.dropped_special:
            raise UsageError(
                "prune removes single heads of the model: leave out --aggregate, --aggregate-layers, --words and "
                "--special drop"
            )
        if request.neurons or request.zoom.windowed:
            raise UsageError("prune reads whole texts: leave out rows, keys and neurons")

    def texts_for_ranking(self) -> Sequence[Text]:
        """Return the texts of `--rank-file`, or those that were given; empty for one half of the texts."""
        from attncli.inputs.texts import parse_texts, read_texts

        if self.rank_texts is not None:
            return self.rank_texts
        if self.options.rank_file is None:
            return ()
        return parse_texts(list(read_texts(self.options.rank_file)))

    def run(self, execution: Execution) -> tuple[Collected, Pruning]:
        """Return the run that was read, and the curve."""
        if not execution.has_model:
            raise UsageError(
                "a saved run has no model whose heads could be removed, and --module is not read: "
                "give --model and texts"
            )
        from attncli.engine.collected import Collected
        from attncli.engine.memory import allowed_memory
        from attncli.studies.importance.compute import Ablation
        from attncli.studies.prune.pruner import Pruner

        if execution.runner.loaded.edits:
            raise UsageError("prune measures and saves the model as it is: leave its edits out")
        if self.options.save is not None:
            from attncli.store.model_folder import check_model_folder

            check_model_folder(Path(self.options.save), execution.runner.loaded.name, self.force)
        texts, ranking_texts = execution.texts, self.texts_for_ranking()
        request = replace(execution.request, keep_maps=False)
        prepared = execution.runner.prepare([*texts, *ranking_texts], request, execution.track)
        options = ImportanceOptions(method=self.options.method, unit=self.options.unit, seed=self.options.seed)
        ablation = Ablation(prepared, options, allowed_memory(request.max_memory))
        counts = len(texts), len(ranking_texts)
        result = Pruner(ablation, self.options, self.ranked, *counts, execution.partial).run(execution.track)
        inputs = tuple(text for text in prepared.inputs if text.index < len(texts))
        run = Collected(prepared.info_of(texts), inputs).with_notes(*result.notes)
        return execution.finish(run), result

    def report(self, result: Pruning, run: Collected) -> Report:
        from attncli.studies.prune.report import prune_report

        return prune_report(result, run)

    def terminal(self, result: Pruning, run: Collected) -> Iterable[Table]:
        from attncli.studies.prune.terminal import curve_table, saved_table

        yield curve_table(result)
        if result.saved:
            yield saved_table(result)

    def details(self, result: Pruning, run: Collected) -> Iterable[Table]:
        from attncli.studies.prune.terminal import order_table

        yield order_table(result)
