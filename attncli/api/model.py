"""A loaded model that runs texts and studies, and describes itself."""

from dataclasses import dataclass, replace
from typing import Any, Unpack

from attncli import models
from attncli.api.run import Run
from attncli.arguments import check_fields, checked, checks_arguments
from attncli.capturing import CapturePlan, plan
from attncli.data import Kind
from attncli.engine.execution import Execution
from attncli.engine.passes import Pass
from attncli.engine.request import Request, RunOptions
from attncli.engine.runner import Runner
from attncli.engine.study import ResultT, Study
from attncli.errors import UsageError
from attncli.inputs.batches import batch_from_tensors
from attncli.inputs.encoded import STATES
from attncli.inputs.texts import Texts, parse_texts
from attncli.studies.heads.options import HeadsOptions
from attncli.studies.heads.result import HeadsResult
from attncli.studies.heads.study import HeadsStudy
from attncli.studies.patterns.options import PatternsOptions, Thresholds
from attncli.studies.patterns.result import Patterns
from attncli.studies.patterns.study import PatternsStudy
from attncli.studies.repeated.options import RepeatedOptions
from attncli.studies.repeated.result import Repeated
from attncli.studies.repeated.study import RepeatedStudy
from attncli.vocabulary import PROBE_LENGTH, PROBE_SEEDS, SHUFFLE_SEEDS


@checks_arguments
@dataclass(frozen=True, eq=False)
class Model(Runner):
    """A model ready to be run; made by `attncli.load`."""

    def run(
        self, text: Texts, *, pair: str | None = None, target: str | None = None, **options: Unpack[RunOptions]
    ) -> Run:
        """Run the model on one or several texts and return the run: with the maps of all heads, or as options say.

        pair     second segment, for one text
        target   text that the decoder of an encoder-decoder reads, for one text; without it the model generates one
        options  options of the forward pass, as in `attncli.RunOptions`: kind, layer, head, metrics, keep_maps, …
        """
        request = replace(Request.of(options), any_axes=True)
        return Run(**vars(self.gather(parse_texts(text, pair, target), request)))

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

    def patterns(
        self,
        text: Texts,
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

    def heads(
        self,
        text: Texts,
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
        self, length: int = PROBE_LENGTH, sequences: int = PROBE_SEEDS, **run_options: Unpack[RunOptions]
    ) -> Repeated:
        """Return scores of all heads on random tokens r that come twice: BOS r r.

        length     number of tokens of r
        sequences  number of sequences r, drawn with the seeds 0, 1, …
        """
        study, request = RepeatedStudy(RepeatedOptions(length=length, sequences=sequences)), Request.of(run_options)
        study.check(request)
        return study.run(Execution(request, load=lambda: self))[1]

    def describe(self, capture: str = "auto") -> dict[str, Any]:
        """Return the attention, sizes and capture of the model as plain values: schema `attncli.info/1`."""
        loaded, capture_plan = self.loaded, self.plan(capture)
        info = loaded.run_info(capture_plan.route)
        return {
            "schema": "attncli.info/1",
            "model": info.model,
            "revision": info.revision,
            "class": info.cls,
            "class_reason": loaded.class_reason,
            "architecture": info.architecture,
            "parameters": sum(parameter.numel() for parameter in loaded.model.parameters()),
            **{name: getattr(info, name) for name in ("dtype", "device", "tokenizer")},
            "gguf": loaded.gguf.describe(loaded.dtype) if loaded.gguf else None,
            "max_positions": loaded.max_positions,
            "attention": [_describe_kind(capture_plan, kind) for kind in capture_plan.kinds],
            "capture": {"route": capture_plan.route, "reason": capture_plan.reason},
            "initialised_weights": list(loaded.initialised),
            "unused_weights": list(loaded.unused),
            "refused": [{"layer": name, "reason": reason} for name, reason in capture_plan.refused],
            "versions": dict(info.versions),
        }


def load(
    name: str = "demo:encoder",
    *,
    revision: str | None = None,
    tokenizer: str | None = None,
    target_tokenizer: str | None = None,
    head: str = "auto",
    device: str = "auto",
    dtype: str = "auto",
    trust_remote_code: bool = False,
) -> Model:
    """Load a model by Hub id, folder, GGUF file or `demo:encoder`, `demo:decoder`, `demo:seq2seq`.

    head               which head to load it with: auto, base, causal-lm, masked-lm, seq2seq-lm, …; auto-lm is auto
                       with the head that `generate` needs
    trust_remote_code  whether Python code that comes with the model may run
    Raise UsageError if an argument is no text: `attncli.capture` takes a model that is loaded already.
    """
    optional = {"revision": revision, "tokenizer": tokenizer, "target_tokenizer": target_tokenizer}
    arguments = {"head": head, "device": device, "dtype": dtype, **optional}
    for argument, value in {"name": name, **arguments}.items():
        if not isinstance(value, str) and not (value is None and argument in optional):
            advice = "; attncli.capture(model, inputs) takes a loaded model" if argument == "name" else ""
            raise UsageError(f"expected the {argument} as a text, got {type(value).__name__}{advice}")
    if not isinstance(trust_remote_code, bool):
        raise UsageError(f"expected trust_remote_code to be True or False, got {type(trust_remote_code).__name__}")
    return Model(models.load(name, trust_remote_code=trust_remote_code, **arguments))  # type: ignore[arg-type]


@checked
def capture(model: Any, inputs: Any, tokenizer: Any = None, **options: Unpack[RunOptions]) -> Run:
    """Run your own Transformers model on inputs that you encoded, and return the run; the model stays unchanged.

    model      a Transformers model, or a compiled, parallel, PEFT or SentenceTransformer model or pipeline with one
    inputs     what a tokenizer returns, with or without padding, or only token ids; with `encoder_hidden_states` the
               keys of cross-attention are the positions 0, 1, … of that input
    tokenizer  names the tokens; without it their ids are the names
    Raise UsageError for inputs that cannot be captured, such as `inputs_embeds` and `past_key_values`.
    """
    request = replace(Request.of(options), any_axes=True)
    if request.max_tokens is not None or request.generate or request.add_bos:
        raise UsageError("max_tokens, generate and add_bos are for texts: these inputs are encoded already")
    loaded = models.wrap_model(model, tokenizer)
    batch = batch_from_tensors(loaded, inputs)
    capture_plan = plan(loaded, request.capture, batch)
    if STATES in batch.tensors and "cross" not in capture_plan.kinds:
        raise UsageError(f"{type(loaded.model).__name__} has no cross-attention that reads {STATES}: leave it out")
    prepared = Pass.prepare(loaded, capture_plan, [batch], request)
    prepared.check_memory(at_once=True)
    return Run(**vars(prepared.gather(texts=[encoded.text for encoded in batch.inputs])))


def _describe_kind(capture_plan: CapturePlan, kind: Kind) -> dict[str, Any]:
    sites = [site for site in capture_plan.sites if site.kind == kind]
    description: dict[str, Any] = {"kind": kind, "layers": sorted({site.layer for site in sites})}
    for name, attribute in (("heads", "heads"), ("key_value_heads", "kv_heads")):
        numbers = [getattr(site, attribute) for site in sites]
        description[name] = numbers[0] if len(set(numbers)) == 1 else numbers
    return description
