"""The study `faithfulness`: do methods name what the predictions of texts need?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

from attncli.engine.checks import check_seeds
from attncli.engine.explaining import ExplainingStudy
from attncli.engine.report import Report
from attncli.errors import UsageError, did_you_mean
from attncli.options import SelectionOptions
from attncli.studies.attribute.study import check_attribution
from attncli.studies.faithfulness.options import FaithfulnessOptions
from attncli.vocabulary import REMOVALS

if TYPE_CHECKING:  # the help of the command line needs no NumPy: what loads it is imported in functions
    from rich.console import RenderableType

    from attncli.data.part_states import PartState
    from attncli.engine.collected import Collected
    from attncli.engine.execution import Execution
    from attncli.engine.request import Request
    from attncli.inputs.rationales import Rationale
    from attncli.studies.faithfulness.protocol import Part
    from attncli.studies.faithfulness.result import Faithfulness


@dataclass(frozen=True)
class FaithfulnessStudy(ExplainingStudy["Faithfulness"]):
    """Whether the tokens that methods name are those that predictions need.

    rationales       the spans that people named in each text; read from `options.rationales` on the command line
    rationale_texts  the text to which each of them belongs, if the file says it
    """

    options: FaithfulnessOptions = field(default_factory=FaithfulnessOptions)
    rationales: tuple[Rationale, ...] | None = None
    rationale_texts: tuple[str | None, ...] = ()
    name = "faithfulness"
    uncompiled = "passes with gradients"
    group = FaithfulnessOptions
    one_text: ClassVar[bool] = False
    sharded = True
    shard_texts = 16

    def adapt(self, selection: SelectionOptions, from_saved_run: bool) -> Self:
        """Return the study with the contents of its files of segments and of rationales."""
        from attncli.inputs.rationales import read_rationales, read_texts

        study = super().adapt(selection, from_saved_run)
        file = self.options.rationales
        if file is None:
            return study
        return replace(study, rationales=read_rationales(file), rationale_texts=read_texts(file))

    def resolved(self) -> dict[str, Any]:
        """Return the options with the contents of the files of segments and of rationales."""
        if self.rationales is None:
            return super().resolved()
        contents = [[vars(span) for span in rationale] for rationale in self.rationales]
        return {**super().resolved(), "rationales": contents}

    def check(self, request: Request) -> None:
        super().check(request)
        check_attribution(self.command, self.options, request)
        for name in self.options.removals:
            if name not in REMOVALS:
                raise UsageError(f"unknown --removal '{name[:60]}': {did_you_mean(name, REMOVALS)}")
        check_seeds("--draws", self.options.draws, 1)
        if self.options.explain.strip() == "labels":
            raise UsageError("faithfulness explains one prediction of each text: give --explain label:NAME or next")
        for part in self._parts:
            part.check(request)

    def run(self, execution: Execution) -> tuple[Collected, Faithfulness]:
        """Return the texts that were read, and the result."""
        from attncli.inputs.rationales import check_rationales
        from attncli.studies.faithfulness.compute import faithfulness, measure, result_notes

        if self.rationales is not None:
            check_rationales(self.rationales, self.rationale_texts, execution.given_texts)
        spans = self.spans_of_texts(execution)
        run, measured = measure(execution, self.options, self._parts, spans, self.rationales)
        result = faithfulness(measured, self.options, self._parts)
        return execution.finish(run.with_notes(*result_notes(result))), result

    def needs_texts(self) -> str:
        """Return the first option that is about all texts: tokens of other texts, or a file with a line for each."""
        wanted = {
            "--removal resample": "resample" in self.options.removals,
            "--segments": self.spans is not None,
            "--rationales": self.rationales is not None,
            "--seed-models": self.options.seed_models is not None,
        }
        return next((option for option, given in wanted.items() if given), "")

    def shard(self, execution: Execution) -> tuple[Collected, PartState]:
        from attncli.studies.faithfulness.compute import measure
        from attncli.studies.faithfulness.sharding import measured_state

        run, measured = measure(execution, self.options, self._parts, None, None)
        return run, measured_state(measured, self._parts)

    def merge(
        self, states: Iterable[PartState], run: Collected, execution: Execution
    ) -> tuple[Collected, Faithfulness]:
        """Return the run of a corpus and the result; the numbers of all texts are kept in memory for the intervals."""
        from attncli.studies.faithfulness.compute import faithfulness, result_notes
        from attncli.studies.faithfulness.sharding import merged_measures

        result = faithfulness(merged_measures(states, self._parts), self.options, self._parts)
        return run.with_notes(*result_notes(result)), result

    def report(self, result: Faithfulness, run: Collected) -> Report:
        from attncli.studies.faithfulness.report import faithfulness_report

        return faithfulness_report(result, run, self._parts)

    def terminal(self, result: Faithfulness, run: Collected) -> Iterable[RenderableType]:
        from attncli.studies.faithfulness.terminal import summary_lines

        for part in self._parts:
            yield from part.terminal(result.parts[part.name])
        yield from summary_lines(result)

    def details(self, result: Faithfulness, run: Collected) -> Iterable[RenderableType]:
        for part in self._parts:
            yield from part.details(result.parts[part.name])

    @property
    def _parts(self) -> list[Part]:
        """The parts that the options ask for."""
        from attncli.studies.faithfulness.parts import PARTS

        divided = self.options.divide is not None or self.options.segments is not None or self.spans is not None
        parts = (part(self.options, divided) for part in PARTS)
        return [part for part in parts if part.is_wanted]
