"""A loaded model that explains predictions: knock-outs, attributions and tests of these."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Unpack, overload

from attncli.api.run import NamedSpans
from attncli.arguments import check_fields, checks_arguments
from attncli.data import Spans, Text
from attncli.data.pair_weights import TokenName
from attncli.engine.corpus import ShardMemory, corpus_task, in_this_process, run_corpus
from attncli.engine.execution import Execution
from attncli.engine.request import Request, RunOptions
from attncli.engine.runner import Runner
from attncli.engine.study import ResultT, Study
from attncli.errors import UsageError
from attncli.inputs.corpus import Corpus
from attncli.inputs.partitions import as_spans
from attncli.inputs.rationales import RationaleSpan, as_rationales
from attncli.inputs.texts import Texts, parse_texts
from attncli.studies.attribute.corpus_result import CorpusAttribution
from attncli.studies.attribute.options import AttributeOptions, AttributionName, BaselineName, ScoreName
from attncli.studies.attribute.result import Attribution
from attncli.studies.attribute.study import AttributeStudy
from attncli.studies.faithfulness.options import FaithfulnessOptions, RemovalName
from attncli.studies.faithfulness.result import Faithfulness
from attncli.studies.faithfulness.study import FaithfulnessStudy
from attncli.studies.knockout.options import KnockoutOptions
from attncli.studies.knockout.result import Knockout
from attncli.studies.knockout.study import KnockoutStudy
from attncli.vocabulary import DRAWS, INTEGRATION_STEPS, SHAPLEY_SAMPLES, SUBSETS


@checks_arguments
@dataclass(frozen=True, eq=False, repr=False)
class ExplainingRunner(Runner):
    """A loaded model that runs any study, and those that explain predictions."""

    def study(
        self,
        study: Study[ResultT],
        text: Texts | Corpus,
        *,
        pair: str | None = None,
        target: str | None = None,
        **run_options: Unpack[RunOptions],
    ) -> ResultT:
        """Return the result of a study of one or several texts; no maps are kept unless the study needs them.

        text         one or several texts, or a corpus of any number, which is read in parts where the study can
        pair         second segment, for one text
        target       text that the decoder of an encoder-decoder reads, for one text
        run_options  options of the forward pass, as in `attncli.RunOptions`
        """
        check_fields(study.options, study.group)
        request = replace(Request.of({**run_options, **study.run_options()}), any_axes=study.any_axes)
        study.check(request)
        if isinstance(text, Corpus) and (task := corpus_task(study, request, text, pair, target)) is not None:
            execution, engine = Execution(request, load=lambda: self), in_this_process(lambda: self)
            result: ResultT = run_corpus(task, ShardMemory(), execution, engine)[1]
            return result
        texts = text.texts() if isinstance(text, Corpus) else parse_texts(text, pair, target)
        return study.run(Execution(request, texts, load=lambda: self))[1]

    def knockout(
        self,
        text: str | Text,
        explain: str = "next",
        *,
        query: TokenName | None = None,
        window_layers: int | None = None,
        divide: str | None = None,
        spans: NamedSpans | None = None,
        pair: str | None = None,
        target: str | None = None,
        **run_options: Unpack[RunOptions],
    ) -> Knockout:
        """Return how one prediction changes when attention to each token, word or segment is blocked.

        explain        next, word:W, answer:TEXT, generated, mask:N, label:NAME or similarity:TEXT and others, as
                       `attncli explain predictions` lists them
        query          tokens from which attention is blocked, as for `find`; those that predict by default
        window_layers  number of layers that are blocked together; about a fifth of them by default
        divide         auto, segment, paragraph, line or sentence: block whole segments instead of tokens
        spans          the segments that are blocked, as for `run.segments`
        run_options    options of the forward pass: layer and head are those that are blocked, words=True blocks words
        Load the model with the head that predicts: `load(…, head="causal-lm")`, or head="auto-head" for its own.
        Raise UsageError for several texts, and if the text has nothing of the kind; ModelError without such a head.
        """
        name = None if query is None else str(query)
        options = KnockoutOptions(explain, divide, query=name, window_layers=window_layers)
        study = KnockoutStudy(options, _spans_unless_divided(spans, divide))
        return self.study(study, text, pair=pair, target=target, **run_options)

    @overload
    def attribute(
        self,
        text: str | Text,
        method: AttributionName | Sequence[AttributionName] = "integrated-gradients",
        explain: str = "next",
        *,
        score: ScoreName = "ln-probability",
        baseline: BaselineName = "auto",
        steps: int = INTEGRATION_STEPS,
        allow_delta: bool = False,
        samples: int = SHAPLEY_SAMPLES,
        seed: int = 0,
        divide: str | None = None,
        spans: NamedSpans | None = None,
        pair: str | None = None,
        target: str | None = None,
        **run_options: Unpack[RunOptions],
    ) -> Attribution: ...

    @overload
    def attribute(
        self,
        text: Corpus,
        method: AttributionName | Sequence[AttributionName] = "integrated-gradients",
        explain: str = "next",
        *,
        score: ScoreName = "ln-probability",
        baseline: BaselineName = "auto",
        steps: int = INTEGRATION_STEPS,
        allow_delta: bool = False,
        samples: int = SHAPLEY_SAMPLES,
        seed: int = 0,
        divide: str | None = None,
        spans: NamedSpans | None = None,
        pair: str | None = None,
        target: str | None = None,
        **run_options: Unpack[RunOptions],
    ) -> CorpusAttribution: ...

    def attribute(
        self,
        text: str | Text | Corpus,
        method: AttributionName | Sequence[AttributionName] = "integrated-gradients",
        explain: str = "next",
        *,
        score: ScoreName = "ln-probability",
        baseline: BaselineName = "auto",
        steps: int = INTEGRATION_STEPS,
        allow_delta: bool = False,
        samples: int = SHAPLEY_SAMPLES,
        seed: int = 0,
        divide: str | None = None,
        spans: NamedSpans | None = None,
        pair: str | None = None,
        target: str | None = None,
        **run_options: Unpack[RunOptions],
    ) -> Attribution | CorpusAttribution:
        """Return how much each token, word or segment counts for a prediction, by one or several methods.

        text         one text; or `attncli.corpus("corpus/*.parquet")`: the result is then a `CorpusAttribution`
        method       integrated-gradients, input-x-gradient, gradient-norm, occlusion, shapley, attention,
                     attention-x-gradient, rollout or value-norm-rollout; several give their values on one scale
        explain      next, word:W, answer:TEXT, generated, mask:N, label:NAME, labels or similarity:TEXT and others, as
                     `attncli explain predictions` lists them
        score        what of the prediction is explained: ln-probability, logit or probability
        baseline     what replaces a token in integrated-gradients, occlusion and shapley: pad, mask, unk, zero or mean;
                     auto fits the model
        steps        steps of integrated-gradients at first; they double while the error is over 5 % of the change
        allow_delta  return integrated-gradients whose error stays larger, else they raise UsageError
        samples, seed  number of random orders of shapley, and their seed
        divide       auto, segment, paragraph, line or sentence: whole segments instead of tokens
        spans        the segments, as for `run.segments`
        run_options  options of the forward pass: layer and head are those whose attention counts, words=True gives
                     words, special="drop" leaves special tokens out
        Load the model with the head that predicts: `load(…, head="causal-lm")`, or head="auto-head" for its own.
        integrated-gradients need `pip install "attncli[attribution]"`. Raise UsageError for several texts, and if the
        text has nothing of the kind; ModelError without such a head, or if gradients are not finite.
        """
        names = _names(method)
        options = AttributeOptions(explain, divide, None, names, score, baseline, steps, allow_delta, samples, seed)
        study = AttributeStudy(options, _spans_unless_divided(spans, divide))
        return self.study(study, text, pair=pair, target=target, **run_options)

    def faithfulness(
        self,
        text: Texts | Corpus,
        method: AttributionName | Sequence[AttributionName] = (
            "input-x-gradient",
            "occlusion",
            "attention",
            "attention-x-gradient",
        ),
        explain: str = "next",
        *,
        removal: RemovalName | Sequence[RemovalName] = ("mask", "delete"),
        draws: int = DRAWS,
        seed: int = 0,
        score: ScoreName = "ln-probability",
        baseline: BaselineName = "auto",
        steps: int = INTEGRATION_STEPS,
        allow_delta: bool = False,
        samples: int = SHAPLEY_SAMPLES,
        divide: str | None = None,
        spans: NamedSpans | Sequence[NamedSpans] | None = None,
        top: int | None = None,
        rationales: Sequence[Sequence[RationaleSpan]] | None = None,
        robustness: bool = False,
        subsets: int = SUBSETS,
        needed: bool = False,
        permutations: int = FaithfulnessOptions.permutations,
        adversarial_steps: int = FaithfulnessOptions.adversarial_steps,
        epsilon: float = FaithfulnessOptions.epsilon,
        seed_models: str | Sequence[str] = (),
        pair: str | None = None,
        target: str | None = None,
        **run_options: Unpack[RunOptions],
    ) -> Faithfulness:
        """Return whether the tokens that methods name are those that predictions need, over several texts.

        method, explain, score, baseline, steps, allow_delta, samples  as in `attribute`
        removal       how tokens are removed: mask, delete or resample; several stand side by side
        draws, seed   number of random orders, and of random tokens for resample; and the seed of all that is random
        divide, spans  whole segments instead of tokens, as in `attribute`; spans are a list with those of each text.
                      The result has `documents` then: which segments a prediction depends on
        subsets       number of subsets of these segments that are left out; all of them if there are no more
        top           first units of two methods whose overlap is counted; a tenth of them by default
        rationales    for each text the spans that people named: (start, end) in characters, or a passage
        robustness    whether to measure infidelity and maximal sensitivity too, by Captum
        needed        whether to change weights of the heads of layer and head: permuted, uniform, adversarial; also if
                      permutations, adversarial_steps, epsilon or seed_models are given; `attncli explain needed`
        run_options   options of the forward pass, as in `attribute`
        Intervals need 6 texts or more, and `pip install "attncli[analyses]"`. Errors are as in `attribute`.
        """
        options = FaithfulnessOptions(
            explain=explain,
            method=_names(method),
            score=score,
            baseline=baseline,
            steps=steps,
            allow_delta=allow_delta,
            samples=samples,
            seed=seed,
            divide=divide,
            removal=_names(removal),
            draws=draws,
            top=top,
            robustness=robustness,
            rationales=None if rationales is None else "rationales",
            subsets=subsets,
            needed=needed,
            permutations=permutations,
            adversarial_steps=adversarial_steps,
            epsilon=epsilon,
            seed_models=_names(seed_models) or None,
        )
        named = None if rationales is None else as_rationales(rationales)
        study = FaithfulnessStudy(options, _spans_unless_divided(spans, divide), named)
        return self.study(study, text, pair=pair, target=target, **run_options)


def _names(given: str | Sequence[str]) -> str:
    """Return one or several names as the command line takes them."""
    return given if isinstance(given, str) else ",".join(given)


def _spans_unless_divided(
    spans: NamedSpans | Sequence[NamedSpans] | None, divide: str | None
) -> tuple[Spans, ...] | None:
    """Return the spans of segments; raise UsageError if `divide` says what the segments are too."""
    if spans is None:
        return None
    if divide is not None:
        raise UsageError("spans say what the segments are, as divide does: give one of them")
    return as_spans(spans)
