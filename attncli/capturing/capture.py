"""Planning of a capture by one short pass, and the passes that send the attention of a batch to the sinks."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from typing import Literal

import torch

from attncli.capturing.blocks import most_cells
from attncli.capturing.bound_edits import bind
from attncli.capturing.canvas import canvas_notes
from attncli.capturing.edited_pass import edited_outputs, editing
from attncli.capturing.editor import Editor
from attncli.capturing.emit import RowEmitter
from attncli.capturing.probe import call_model, record
from attncli.capturing.routes import LastRowsSent, RouteHandler
from attncli.capturing.scales import scale_of, with_scales
from attncli.capturing.shadow import Shadow
from attncli.capturing.sites import CapturePlan, Route, Site
from attncli.capturing.survey import survey
from attncli.data import Input, Kind, Text, has_scale
from attncli.errors import AttnError, ModelError, is_out_of_memory
from attncli.inputs.batches import Batch, accepted_arguments, unpadded, with_distinct_lengths
from attncli.inputs.encode import encode
from attncli.inputs.encoded import STATES
from attncli.models import Loaded
from attncli.models.load_errors import first_line
from attncli.stream import Sink

PROBE = Text("The animal didn't cross the street because it was too tired.", target="It was.")
PROBE_TOKENS = 12
_WHY_EAGER = {
    "dispatch": "differ from the plain formula",
    "sdpa": "differ from the plain formula",
    "softmax": "compute softmax themselves",
    "output": "show their weights only in the model's outputs",
}
Stack = Literal["encoder", "decoder"]
States = dict[Stack, tuple[torch.Tensor, ...]]


def plan(loaded: Loaded, route: Literal["auto", "stream", "eager"] = "auto", batch: Batch | None = None) -> CapturePlan:
    """Return how the attention of a model can be captured, found by one short pass.

    route  stream or eager to demand a route, auto to stream if every attention call allows it
    batch  encoded inputs for the pass, for a model without a tokenizer
    A model that does not run from text alone, or shows no attention then, is captured in a part of it that does; the
    plan has a note about that. Inputs that the user gave (`Batch.given`) are never read by a part.
    Raises `ModelError` if the model has no softmax attention over its tokens, cannot run on text alone or on the given
    inputs, or cannot be streamed although that is demanded.
    """
    batch = probe_batch(loaded) if batch is None else with_distinct_lengths(next(unpadded(batch)))
    failures: list[str] = []
    refused: list[tuple[str, str]] = []
    callers = loaded.callers[:1] if batch.given else loaded.callers
    for index, (name, caller) in enumerate(callers):
        has_target = not {"decoder_input_ids", STATES}.isdisjoint(accepted_arguments(caller, batch.tensors))
        inputs = batch if has_target else replace(batch, target_mask=None)
        try:
            calls, outputs = record(loaded.model, caller, inputs)
        except AttnError:
            raise
        except Exception as error:  # the forward pass of any architecture
            if is_out_of_memory(error):
                raise
            failures.append(f"{name}: {_forward_failure(loaded, inputs, error)}")
            continue
        sites, refused_calls = survey(calls, outputs, inputs, loaded.model)
        scales = {site.kind: scale_of(loaded.model, site.key) for site in sites if has_scale(site.kind)}
        if sites:
            chosen, reason, sites = choose_route(loaded, route, sites)
            notes = canvas_notes(caller, inputs.tensors)
            if index:
                reason += f"; text runs through its {name} alone"
                problem = _problem(failures, refused, index)
                notes = (f"only {name} reads the text, because {_model_label(loaded)} {problem}", *notes)
            return CapturePlan(
                chosen, reason, index, tuple(sites), tuple(refused_calls), notes, tuple(filter(None, scales.values()))
            )
        refused += refused_calls
    if batch.given and failures:
        problem = f"fails on these inputs ({failures[0]}): give the inputs that its forward pass needs"
        raise ModelError(f"{_model_label(loaded)} {problem}")
    raise ModelError(f"{_model_label(loaded)} {_problem(failures, refused, len(callers))}")


def _problem(failures: Sequence[str], refused: Sequence[tuple[str, str]], tried: int) -> str:
    """Return why none of the `tried` ways to run a model gave attention, the whole model first."""
    if refused:
        name, reason = refused[0]
        return f"has no softmax attention that can be measured token by token: {name}: {reason}"
    if failures and len(failures) == tried:
        return f"does not run from text alone ({failures[0]})"
    return "has no softmax attention: nothing to capture (state-space, linear, Fourier or hashed attention)"


def probe_batch(loaded: Loaded) -> Batch:
    """Return the text of the short pass; classifiers with a decoder refuse a target that is not the text itself."""
    limit = min(PROBE_TOKENS, loaded.max_positions or PROBE_TOKENS)
    if loaded.is_encoder_decoder and not loaded.model.can_generate():
        with suppress(ModelError):  # the model expects a target
            return next(encode(loaded, [replace(PROBE, target=None)], max_tokens=limit))
    return next(encode(loaded, [PROBE], max_tokens=limit))


def choose_route(loaded: Loaded, route: str, sites: list[Site]) -> tuple[Route, str, list[Site]]:
    """Return the route of the whole model, the reason for it, and the sites with their routes."""
    if route == "eager":
        # torch's own attention returns no weights: there only attncli can compute them
        eager = [site if site.function == "sdpa" else replace(site, route="eager") for site in sites]
        return "eager", "asked for with --capture eager", eager
    others = [site for site in sites if site.route != "stream"]
    if not others:
        return "stream", f"streamed weights match eager attention in all {len(sites)} attention calls", sites
    first = others[0]
    reason = (
        f"{len(others)} of {len(sites)} attention calls {_WHY_EAGER[first.function]} ({first.name or first.label}), "
        "so the weights of the model itself are captured layer by layer"
    )
    if route == "stream":
        raise ModelError(f"{loaded.class_name} cannot be streamed: {reason}; use --capture auto")
    return "eager", reason, sites


def run(
    loaded: Loaded,
    plan: CapturePlan,
    batch: Batch,
    sinks: Sequence[Sink],
    heads: Mapping[tuple[Kind, int], tuple[int, ...]] | None = None,
    shadow: Shadow | None = None,
    *,
    compiled: bool = False,
) -> None:
    """Run a batch through the model and send every block of rows of the selected heads to every sink.

    sinks   one that has `takes_states` also gets the hidden states of each text, by `add_states`
    heads   (kind, layer) → head numbers; None for all heads
    shadow  the copy of the modules that runs, for several calls by one thread; None for a new one
    compiled  whether compiled code computes the blocks of a plan that `compiles`; it raises errors of the compiler
    A batch with padding is run in one pass for each text length, without the padding. Edits of the model
    (`Loaded.edits`) are applied. The model is not changed, also on error. Raises `ModelError` if the model fails or its
    weights are not attention weights.
    """
    options = {"output_attentions": True} if any(site.function == "output" for site in plan.sites) else {}
    of_states = [sink for sink in sinks if getattr(sink, "takes_states", False)]
    if of_states:
        options["output_hidden_states"] = True
    _, caller = loaded.callers[plan.caller]
    for part in unpadded(with_scales(batch, plan.scales)):
        edits = bind(plan, part.inputs, loaded.edits, loaded.name)
        emitter = RowEmitter(part, sinks, heads, loaded.model.dtype, edits.weights)
        modules = shadow or Shadow(loaded.model)
        editor = Editor(plan, edits.weights, len(part.inputs))
        settings = {
            "compiled": compiled and plan.compiles and not edits.weights,
            "ends": not (modules.runs_other_code or of_states),
        }
        handler = RouteHandler(plan, emitter, len(part.inputs), modules.model, editor, **settings)
        restored = nullcontext() if shadow is None else shadow.restored()
        try:
            with torch.inference_mode(), restored, editing(modules, plan, edits, handler):
                outputs = call_model(modules.of(caller), part, **options)
        except LastRowsSent:
            continue
        except AttnError:
            raise
        except Exception as error:  # the forward pass of any architecture
            if error is emitter.sink_error or is_out_of_memory(error):
                raise
            failure = _forward_failure(loaded, part, error)
            raise ModelError(f"{_model_label(loaded)} fails on this input: {failure}") from error
        handler.emit_outputs(outputs)
        handler.check_complete()
        for _, states in _states_of(outputs, loaded, plan, part) if of_states else ():
            for sink in of_states:
                sink.add_states(states)  # type: ignore[attr-defined]


def in_eval_mode(loaded: Loaded) -> Loaded:
    """Return a model that computes without dropout: itself, or a copy that shares its weights if it is in training."""
    if not any(module.training for module in loaded.model.modules()):
        return loaded
    return replace(loaded, model=Shadow(loaded.model).model)


def layer_bytes(plan: CapturePlan, batch: Batch) -> int:
    """Return the most bytes that the attention of one layer needs during a pass.

    A streamed layer needs one block; a layer that the model computes needs all its scores, weights and visibility.
    """
    most, texts = 0, batch.inputs
    sides = {kind: [text.sides(kind) for text in texts] for kind in dict.fromkeys(site.kind for site in plan.sites)}
    longest = {kind: [max(map(len, side)) for side in zip(*of_kind, strict=True)] for kind, of_kind in sides.items()}
    for site in plan.sites:
        queries, keys = longest[site.kind]
        shape = (len(texts), site.heads, queries, keys)
        block, full = most_cells(shape, batch.source_mask.device) * (4 + 4), math.prod(shape) * (4 + 4 + 1)
        most = max(most, block if site.route == "stream" else full)
    return most


def hidden_states(loaded: Loaded, plan: CapturePlan, batch: Batch) -> Iterator[tuple[Input, States]]:
    """Return for each text the hidden states of each stack: the input of the first layer, then each layer's output.

    Each is [token, width]. Many models normalise the last one once more. A stack is absent if the model does not
    return its states, or pools its tokens between layers (Funnel).
    """
    _, caller = in_eval_mode(loaded).callers[plan.caller]
    for part in unpadded(batch):
        if loaded.edits:
            outputs = edited_outputs(loaded, plan, part, output_hidden_states=True)
        else:
            with torch.inference_mode():
                outputs = call_model(caller, part, output_hidden_states=True)
        yield from _states_of(outputs, loaded, plan, part)


def _states_of(outputs: object, loaded: Loaded, plan: CapturePlan, batch: Batch) -> Iterator[tuple[Input, States]]:
    """Return for each text of a batch the hidden states that the outputs of the model hold."""
    names: dict[Stack, str] = {"encoder": "encoder_hidden_states", "decoder": "decoder_hidden_states"}
    if not loaded.is_encoder_decoder:
        names = {"decoder" if "decoder" in plan.kinds else "encoder": "hidden_states"}
    returned = {stack: getattr(outputs, name, None) for stack, name in names.items()}
    for row, text in enumerate(batch.inputs):
        states: States = {}
        for stack, layers in returned.items():
            length = len(text.sides(stack)[0])
            if layers is not None and all(layer.shape[1] == length for layer in layers):
                states[stack] = tuple(layer[row] for layer in layers)
        yield text, states


def _model_label(loaded: Loaded) -> str:
    name, architecture = loaded.class_name, loaded.architecture
    return name if name == architecture else f"{name} ({architecture})"


def _forward_failure(loaded: Loaded, batch: Batch, error: Exception) -> str:
    """Return one line about a failed forward pass, with its likely cause if one is known."""
    summary, ids = first_line(error)[:200], batch.tensors.get("input_ids")
    largest = -1 if ids is None else int(ids.max())
    try:
        vocabulary = getattr(loaded.model.get_input_embeddings(), "num_embeddings", None)
    except (NotImplementedError, AttributeError):  # a module that is no Transformers model has no such method
        vocabulary = None
    if isinstance(error, IndexError) and vocabulary is not None and largest >= vocabulary:
        return f"token id {largest} is beyond the model's {vocabulary} embeddings: does the tokenizer fit the model?"
    if loaded.model.dtype != torch.float32 and ("dtype" in summary or "scalar type" in summary):
        return f"{summary}; the model may compute only in float32, try --dtype float32"
    return summary
