"""A loaded model that runs any study, and tests of its heads."""

from dataclasses import dataclass, replace
from typing import Unpack

from attncli.arguments import check_fields, checks_arguments
from attncli.data.pair_weights import TokenName
from attncli.engine.execution import Execution
from attncli.engine.request import Request, RunOptions
from attncli.engine.runner import Runner
from attncli.engine.study import ResultT, Study
from attncli.inputs.texts import Texts, parse_texts
from attncli.studies.importance.options import ImportanceMethod, ImportanceOptions, ImportanceUnit
from attncli.studies.importance.result import Importance
from attncli.studies.importance.study import ImportanceStudy


@checks_arguments
@dataclass(frozen=True, eq=False, repr=False)
class StudyRunner(Runner):
    """A loaded model that runs studies of texts."""

    def study(
        self,
        study: Study[ResultT],
        text: Texts,
        *,
        pair: str | None = None,
        target: str | None = None,
        **run_options: Unpack[RunOptions],
    ) -> ResultT:
        """Return the result of a study of one or several texts; no maps are kept unless the study needs them.

        pair         second segment, for one text
        target       text that the decoder of an encoder-decoder reads, for one text
        run_options  options of the forward pass, as in `attncli.RunOptions`
        """
        check_fields(study.options, study.group)
        request = replace(Request.of({**run_options, **study.run_options()}), any_axes=study.any_axes)
        study.check(request)
        return study.run(Execution(request, parse_texts(text, pair, target), load=lambda: self))[1]

    def importance(
        self,
        text: Texts,
        *,
        method: ImportanceMethod = "zero",
        unit: ImportanceUnit = "head",
        tokens: TokenName | None = None,
        seed: int = 0,
        pair: str | None = None,
        target: str | None = None,
        **run_options: Unpack[RunOptions],
    ) -> Importance:
        """Return how the output of the model changes without each head, the largest change first.

        method  zero: the output of a head becomes 0; mean: its mean over all tokens of the texts; gradient: the mean
                over texts of |dL/dgate|, of a factor on the output of the head
        unit    what is removed together: a head, the heads of a group that share keys and values, or those of a layer
        tokens  name of the tokens whose prediction counts, such as "generated" or "14-21"; all by default
        seed    chooses the tokens that are masked for a masked language model
        The output is that of the model's own head: of a base model, effects are distances of hidden states, so load
        a model with its head (`attncli.load(name, head="auto-head")`). Intervals need 6 texts or more, and
        `pip install "attncli[analyses]"`. Raise UsageError for a text without a predicted token, or gradients of a
        model without a head.
        """
        options = ImportanceOptions(method, unit, None if tokens is None else str(tokens), seed)
        return self.study(ImportanceStudy(options), text, pair=pair, target=target, **run_options)
