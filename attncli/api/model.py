"""A loaded model that runs texts and studies, and describes itself."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Unpack

from attncli import models
from attncli.api.describe import describe_model
from attncli.api.modules import capture_module
from attncli.api.predictions import Predictor
from attncli.api.run import NamedSpans, Run
from attncli.api.studies import StudyRunner
from attncli.arguments import checked, checks_arguments
from attncli.capturing import CapturePlan, kept_plan
from attncli.data import Direction, Text
from attncli.data.described import Described
from attncli.data.pair_weights import TokenName
from attncli.engine.execution import Execution
from attncli.engine.passes import Pass
from attncli.engine.reading import Reading
from attncli.engine.request import Request, RunOptions
from attncli.errors import ModelError, UsageError
from attncli.inputs.batches import Batch, batch_from_tensors
from attncli.inputs.corpus import Corpus
from attncli.inputs.encoded import STATES
from attncli.inputs.partitions import as_spans
from attncli.inputs.texts import Texts, parse_texts
from attncli.models import Loaded
from attncli.studies.find.options import FindOptions
from attncli.studies.find.result import RankedHeads
from attncli.studies.find.study import FindStudy
from attncli.studies.heads.options import HeadsOptions
from attncli.studies.heads.result import HeadsResult
from attncli.studies.heads.study import HeadsStudy
from attncli.studies.highlight.options import HighlightOptions
from attncli.studies.highlight.page import HighlightPage
from attncli.studies.highlight.study import HighlightStudy
from attncli.studies.patterns.options import PatternsOptions, Thresholds
from attncli.studies.patterns.result import Patterns
from attncli.studies.patterns.study import PatternsStudy
from attncli.studies.repeated.options import RepeatedOptions
from attncli.studies.repeated.result import Repeated
from attncli.studies.repeated.study import RepeatedStudy
from attncli.studies.segments.options import SegmentsOptions
from attncli.studies.segments.result import Segments
from attncli.studies.segments.study import SegmentsStudy
from attncli.vocabulary import PROBE_LENGTH, PROBE_SEEDS, SHUFFLE_SEEDS


@checks_arguments
@dataclass(frozen=True, eq=False, repr=False)
class Model(Described, StudyRunner, Predictor):
    """A model ready to be run; made by `attncli.load`."""

    def _lines(self) -> Iterable[str]:
        model, title = self.loaded.model, self.loaded.run_info().title
        size = sum(parameter.numel() for parameter in model.parameters())
        place = f"{str(model.dtype).removeprefix('torch.')} on {self.loaded.device}"
        yield f"Model {title}: {type(model).__name__} ({self.loaded.architecture}), {size:,} parameters, {place}"
        tokenizer, limit = self.loaded.tokenizer, self.loaded.max_positions
        reads = "texts of any length" if limit is None else f"texts of at most {limit:,} tokens"
        yield f"reads {reads}" if tokenizer is not None else "has no tokenizer: it was loaded without one"

    def run(
        self, text: Texts, *, pair: str | None = None, target: str | None = None, **options: Unpack[RunOptions]
    ) -> Run:
        """Return a run of the model on one or several texts, which keeps nothing until it is asked (see `Run`).

        The texts are checked, encoded and continued (`generate`) at once. If options ask for results (metrics, top_k,
        min_weight, profile, neurons, or keep_maps=True), one forward pass computes these at once.

        pair     second segment, for one text
        target   text that the decoder of an encoder-decoder reads, for one text; without it the model generates one
        options  options of the forward pass, as in `attncli.RunOptions`: kind, layer, head, metrics, keep_maps, …
        """
        request, keeps = replace(Request.of(options), any_axes=True), options.get("keep_maps")
        texts = parse_texts(text, pair, target)
        prepared = self.prepare(texts, request)
        reading = Reading.of(prepared, texts, keeps is not False)
        if keeps is None and not (request.metrics or request.extras or request.neurons):
            return Run(prepared.info_of(texts), tuple(prepared.inputs), reading=reading)
        if keeps is None:  # vectors explain maps
            prepared = replace(prepared, request=replace(request, keep_maps=request.neurons))
        return Run(**vars(prepared.collect(texts)), reading=reading)

    def find(
        self,
        text: Texts,
        query: TokenName,
        key: TokenName,
        *,
        pair: str | None = None,
        target: str | None = None,
        spans: NamedSpans | Sequence[NamedSpans] | None = None,
        **run_options: Unpack[RunOptions],
    ) -> RankedHeads:
        """Return all heads, ranked by their attention from some tokens of the texts to others; no maps are kept.

        query, key  "it" (all its occurrences), "it#2", 7, -1, "14-21", "[CLS]", or a segment such as "generated"
        spans       segments that they can name, as for `run.segments`
        run_options  options of the forward pass; rows_as says which rows are read: those of the query tokens (input),
                     or those that predict them (predicted, the default for generated and assistant)
        """
        options = FindOptions(run_options.pop("rows_as", None), str(query), str(key))
        study = FindStudy(options, None if spans is None else as_spans(spans))
        return self.study(study, text, pair=pair, target=target, **run_options)[0]

    def patterns(
        self,
        text: Texts | Corpus,
        *,
        pair: str | None = None,
        target: str | None = None,
        thresholds: Thresholds | None = None,
        shuffles: int = SHUFFLE_SEEDS,
        **run_options: Unpack[RunOptions],
    ) -> Patterns:
        """Return the classes of all heads and the numbers behind them on one or several texts, with their baselines.

        thresholds  thresholds of the classes
        shuffles    number of passes over the same texts with their tokens shuffled; 0 for none
        """
        options = PatternsOptions(**vars(thresholds or Thresholds()), shuffles=shuffles)
        return self.study(PatternsStudy(options), text, pair=pair, target=target, **run_options)[0]

    def segments(
        self,
        text: Texts,
        divide: str = "auto",
        spans: NamedSpans | Sequence[NamedSpans] | None = None,
        *,
        query: str | None = None,
        key: str | None = None,
        pair: str | None = None,
        target: str | None = None,
        **run_options: Unpack[RunOptions],
    ) -> Segments:
        """Return how much attention goes between the segments of the texts; no maps are kept.

        divide, spans, query, key  as in `Run.segments`, and rows_as of the run_options
        """
        options = SegmentsOptions(run_options.pop("rows_as", None), divide, query=query, key=key)
        study = SegmentsStudy(options, None if spans is None else as_spans(spans))
        return self.study(study, text, pair=pair, target=target, **run_options)[0]

    def highlight(
        self,
        text: str | Text,
        focus: str | int,
        *,
        direction: Direction = "from",
        pair: str | None = None,
        target: str | None = None,
        **run_options: Unpack[RunOptions],
    ) -> HighlightPage:
        """Return attention on one text itself, from some words or to them; only their rows or columns are kept.

        focus, direction  as in `Run.highlight`, and rows_as of the run_options; the mean over all heads is shown unless
                          run_options choose or combine
        Raise UsageError if there are several kinds of attention and run_options do not name one (`kind`).
        """
        chosen = run_options.keys() & {"layer", "head", "aggregate", "aggregate_layers"}
        options = HighlightOptions(run_options.pop("rows_as", None), str(focus), direction)
        study = HighlightStudy(options, mean=not chosen)
        runs, _ = self.study(study, text, pair=pair, target=target, **run_options)
        found = [HighlightPage(highlight, **run.info.captions()) for run in runs for highlight in study.highlights(run)]
        if len(found) > 1:
            kinds = ", ".join(page.highlight.kind for page in found)
            raise UsageError(f"the model has several kinds of attention: say which, with kind as one of {kinds}")
        return found[0]

    def heads(
        self,
        text: Texts | Corpus,
        options: HeadsOptions | None = None,
        *,
        pair: str | None = None,
        target: str | None = None,
        **run_options: Unpack[RunOptions],
    ) -> HeadsResult:
        """Return the distances between all heads on some texts, clusters, and the similarity of tokens in each layer.

        options  how many clusters, which pairs are redundant, and how many passes over shuffled tokens
        Needs `pip install "attncli[analyses]"`.
        """
        return self.study(HeadsStudy(options or HeadsOptions()), text, pair=pair, target=target, **run_options)

    def probe_repeated(
        self,
        length: int = PROBE_LENGTH,
        sequences: int = PROBE_SEEDS,
        passages: Sequence[str] = (),
        **run_options: Unpack[RunOptions],
    ) -> Repeated:
        """Return scores of all heads on tokens r that come twice, BOS r r, and the losses of both copies.

        length     number of random tokens of r
        sequences  number of sequences r, drawn with the seeds 0, 1, …
        passages   texts that are read as r, instead of random tokens

        Losses need a language-model head: `load(…, head="auto-lm")`.
        """
        study = RepeatedStudy(RepeatedOptions(length=length, sequences=sequences), tuple(passages))
        request = Request.of(run_options)
        study.check(request)
        return study.run(Execution(request, load=lambda: self))[1]

    def describe(self, capture: str = "auto") -> dict[str, Any]:
        """Return the attention, sizes and capture of the model as plain values: schema `attncli.info/1`."""
        return describe_model(self.loaded, self.plan(capture))


def load(
    name: Any = "demo:encoder",
    *,
    revision: str | None = None,
    tokenizer: Any = None,
    target_tokenizer: Any = None,
    head: str = "auto",
    device: str = "auto",
    dtype: str = "auto",
    trust_remote_code: bool = False,
) -> Model:
    """Return a model by Hub id, folder, GGUF file or the name of a bundled model; or one that you hold.

    name               its name, such as `demo:encoder`, `demo:decoder`, `demo:seq2seq` or `demo:classifier`; or a
                       Transformers model, or what `attncli.capture` takes instead, which stays unchanged
    tokenizer          name of another tokenizer; for a model that you hold, the tokenizer itself
    target_tokenizer   the same for the texts of a decoder, where its vocabulary differs
    head               which head to load it with: auto, base, causal-lm, masked-lm, seq2seq-lm, …; auto-lm is auto
                       with the head that `generate` needs
    trust_remote_code  whether Python code that comes with the model may run
    Raise UsageError if an argument has the wrong type, or says how to load a model that is loaded already.
    """
    optional = {"revision": revision, "tokenizer": tokenizer, "target_tokenizer": target_tokenizer}
    arguments = {"head": head, "device": device, "dtype": dtype, **optional}
    if not isinstance(trust_remote_code, bool):
        raise UsageError(f"expected trust_remote_code to be True or False, got {type(trust_remote_code).__name__}")
    if models.holds_model(name):
        defaults = {"head": "auto", "device": "auto", "dtype": "auto", "revision": None}
        if given := [argument for argument, default in defaults.items() if arguments[argument] != default]:
            raise UsageError(f"{given[0]} says how a model is loaded, this one is loaded already: leave it out")
        return Model(models.wrap_model(name, tokenizer, target_tokenizer))
    for argument, value in {"name": name, **arguments}.items():
        if not isinstance(value, str) and not (value is None and argument in optional):
            expected = "a text, or a Transformers model" if argument == "name" else "a text"
            raise UsageError(f"expected the {argument} as {expected}, got {type(value).__name__}")
    return Model(models.load(name, trust_remote_code=trust_remote_code, **arguments))


@checked
def capture(model: Any, inputs: Any, tokenizer: Any = None, *, names: Any = None, **options: Unpack[RunOptions]) -> Run:
    """Run your own model on inputs that you encoded, and return the run; the model stays unchanged.

    The pass runs at once and keeps the maps of all heads, unless options say otherwise: with `metrics="all",
    keep_maps=False` it needs less time and memory. For texts, `attncli.load(model, tokenizer=tokenizer)` does more.

    model      a Transformers model, or a compiled, parallel, PEFT or SentenceTransformer model or pipeline with one;
               or any other `torch.nn.Module`
    inputs     what a tokenizer returns, with or without padding, or only token ids; with `encoder_hidden_states` the
               keys of cross-attention are the positions 0, 1, … of that input. For other modules what they read: a
               tensor, a tuple, or a dictionary of named arguments
    tokenizer  names the tokens; without it their ids are the names
    names      names of rows and keys, for modules that are no Transformers models: a list, a list for each text, or
               {"query": …, "key": …}; without it their positions are the names
    Raise UsageError for inputs that cannot be captured, such as `inputs_embeds` and `past_key_values`.
    """
    request = replace(Request.of(options), any_axes=True)
    if request.max_tokens is not None or request.generate or request.add_bos:
        raise UsageError("max_tokens, generate and add_bos are for texts: these inputs are encoded already")
    if (module := models.plain_module(model, whole=names is not None)) is not None:
        return capture_module(module, inputs, names, request)
    if names is not None:
        raise UsageError("names are for modules that are no Transformers models: the tokenizer names the tokens")
    loaded = models.wrap_model(model, tokenizer)
    batch = batch_from_tensors(loaded, inputs)
    capture_plan = kept_plan(loaded, request.capture, batch)
    try:
        return _captured(loaded, capture_plan, batch, request)
    except ModelError:
        again = kept_plan(loaded, request.capture, batch, anew=True)
        if again == capture_plan:
            raise
    return _captured(loaded, again, batch, request)  # earlier inputs showed less of what the model does


def _captured(loaded: Loaded, capture_plan: CapturePlan, batch: Batch, request: Request) -> Run:
    if STATES in batch.tensors and "cross" not in capture_plan.kinds:
        raise UsageError(f"{type(loaded.model).__name__} has no cross-attention that reads {STATES}: leave it out")
    prepared = Pass.prepare(loaded, capture_plan, [batch], request)
    return Run(**vars(prepared.collect([encoded.text for encoded in batch.inputs])))
