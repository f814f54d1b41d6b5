"""Catching attention as it is computed: `plan` finds out how a model can be captured, `run` feeds the sinks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch

from attncli.capturing.blocks import block_bytes
from attncli.capturing.emit import RowEmitter
from attncli.capturing.intercept import intercepted
from attncli.capturing.others import layers_without
from attncli.capturing.plan import CapturePlan, Site
from attncli.capturing.probe import call_model, record
from attncli.capturing.routes import RouteHandler
from attncli.capturing.survey import ModelFacts, survey
from attncli.data import Kind, Text
from attncli.errors import AttnError, ModelError, is_out_of_memory
from attncli.inputs.batches import Batch, accepted_arguments, unpadded
from attncli.inputs.encode import encode
from attncli.models import Loaded
from attncli.stream import Sink

__all__ = ["CapturePlan", "Site", "layer_bytes", "plan", "run"]

PROBE = Text("The animal didn't cross the street because it was too tired.", target="It was.")
PROBE_TOKENS = 12


def plan(loaded: Loaded, route: Literal["auto", "stream", "eager"] = "auto", batch: Batch | None = None) -> CapturePlan:
    """Find out how a model's attention can be captured, by one short pass.

    batch  encoded inputs to try on, for a model without a tokenizer
    Raises `ModelError` where the model has no softmax attention over its tokens, or cannot run from text.
    """
    batch = _probe_batch(loaded) if batch is None else next(unpadded(batch))
    failures: list[str] = []
    refused: list[tuple[str, str]] = []
    for index, (name, caller) in enumerate(loaded.callers):
        reads_both = "decoder_input_ids" in accepted_arguments(caller, batch.tensors)
        given = batch if reads_both else replace(batch, target_mask=None)
        try:
            seen, outputs = record(loaded.model, caller, given)
        except AttnError:
            raise
        except Exception as error:  # the forward pass of any architecture
            if is_out_of_memory(error):
                raise
            failures.append(f"{name}: {_why(loaded, given, error)}")
            continue
        sites, turned_away = survey(seen, outputs, given, ModelFacts.of(loaded.model.config))
        refused += turned_away
        if sites:
            turned_away += layers_without(loaded.model, sites, [name for name, _ in turned_away])
            made = _decide(loaded, route, index, sites, turned_away)
            return made if index == 0 else replace(made, reason=f"{made.reason}; text runs through its {name} alone")
    raise ModelError(_nothing(loaded, failures, refused))


def run(
    loaded: Loaded,
    plan: CapturePlan,
    batch: Batch,
    sinks: Sequence[Sink],
    heads: Mapping[tuple[Kind, int], tuple[int, ...]] | None = None,
) -> None:
    """One forward pass over a batch; every block of rows of the selected heads goes to every sink.

    heads  (kind, layer) → head numbers; None is all
    A batch with padding takes a pass for each length of its texts. The model is left as found, also on error.
    """
    for part in unpadded(batch):
        _pass(loaded, plan, part, sinks, heads)


def layer_bytes(plan: CapturePlan, batch: Batch) -> int:
    """What the attention of one layer takes while it goes by: blocks where it streams, else the model's own maps.

    A model that makes its own holds its scores, the weights, and which of them are visible.
    """
    taken = []
    for site in plan.sites:
        sides = [one.sides(site.kind) for one in batch.inputs]
        queries, keys = (max(len(side[at]) for side in sides) for at in (0, 1))
        shape = (len(sides), site.heads, queries, keys)
        whole = math.prod(shape) * (4 + 4 + 1)
        taken.append(block_bytes(shape, batch.source_mask.device) if site.how == "stream" else whole)
    return max(taken)


def _pass(
    loaded: Loaded,
    plan: CapturePlan,
    batch: Batch,
    sinks: Sequence[Sink],
    heads: Mapping[tuple[Kind, int], tuple[int, ...]] | None,
) -> None:
    emitter = RowEmitter(batch, sinks, heads, loaded.model.dtype)
    taker = RouteHandler(plan, emitter, len(batch.inputs), loaded.model)
    functions = {site.function for site in plan.sites}
    options: dict[str, Any] = {"output_attentions": True} if "output" in functions else {}
    _, caller = loaded.callers[plan.caller]
    watch = functions != {"dispatch"} or any(site.how == "eager" for site in plan.sites)
    try:
        with torch.inference_mode(), intercepted(loaded.model, taker, functions=watch):
            outputs = call_model(caller, batch.tensors, **options)
    except AttnError:
        raise
    except Exception as error:  # the forward pass of any architecture
        if error is emitter.sink_error or is_out_of_memory(error):
            raise
        raise ModelError(f"{_named(loaded)} fails on this input: {_why(loaded, batch, error)}") from error
    taker.outputs(outputs)
    taker.check_complete()


def _probe_batch(loaded: Loaded) -> Batch:
    limit = min(PROBE_TOKENS, loaded.max_positions or PROBE_TOKENS)
    return next(encode(loaded, [PROBE], max_tokens=limit))


def _decide(loaded: Loaded, route: str, caller: int, sites: list[Site], refused: list[tuple[str, str]]) -> CapturePlan:
    """The route of the whole model and why."""
    streams = [site for site in sites if site.how == "stream"]
    if route == "eager":
        from_model = tuple(_as_eager(site) for site in sites)
        return CapturePlan("eager", "asked for with --capture eager", caller, from_model, tuple(refused))
    if len(streams) == len(sites):
        reason = f"our blocks give the model's own eager weights in all {len(sites)} attention calls"
        return CapturePlan("stream", reason, caller, tuple(sites), tuple(refused))
    other = [site for site in sites if site.how != "stream"]
    reason = f"{len(other)} of {len(sites)} attention calls {_why_not(other[0])}"
    if route == "stream":
        raise ModelError(f"{type(loaded.model).__name__} cannot be streamed: {reason}; use --capture auto")
    return CapturePlan("eager", reason, caller, tuple(sites), tuple(refused))


def _as_eager(site: Site) -> Site:
    # torch's own attention returns no weights: there our computation is the only one
    return site if site.function == "sdpa" else replace(site, how="eager")


def _why_not(site: Site) -> str:
    reasons = {
        "dispatch": "differ from the plain formula",
        "sdpa": "differ from the plain formula",
        "softmax": "compute softmax themselves",
        "output": "show their weights only in the model's outputs",
    }
    return f"{reasons[site.function]} ({site.name}), so the model's own weights are taken layer by layer"


def _named(loaded: Loaded) -> str:
    return f"{type(loaded.model).__name__} ({loaded.architecture})"


def _why(loaded: Loaded, batch: Batch, error: Exception) -> str:
    """A failing forward pass in one line, with what it most often comes from."""
    lines = str(error).strip().splitlines()
    brief = f"{type(error).__name__}: {lines[0]}"[:200] if lines else type(error).__name__
    known, largest = _vocabulary(loaded), int(batch.tensors["input_ids"].max())
    if isinstance(error, IndexError) and known is not None and largest >= known:
        return f"token id {largest} is beyond the model's {known} embeddings: is this its own tokenizer?"
    if loaded.model.dtype != torch.float32 and ("dtype" in brief or "scalar type" in brief):
        return f"{brief}; perhaps it computes only in float32, try --dtype float32"
    return brief


def _vocabulary(loaded: Loaded) -> int | None:
    try:
        return getattr(loaded.model.get_input_embeddings(), "num_embeddings", None)
    except NotImplementedError:
        return None


def _nothing(loaded: Loaded, failures: list[str], refused: list[tuple[str, str]]) -> str:
    what = _named(loaded)
    if refused:
        name, reason = refused[0]
        return f"{what} has no softmax attention that can be measured token by token: {name}: {reason}"
    if failures and len(failures) == len(loaded.callers):
        return f"{what} does not run from text alone ({failures[0]})"
    return f"{what} has no softmax attention: nothing to capture (state-space, linear, Fourier or hashed attention)"
