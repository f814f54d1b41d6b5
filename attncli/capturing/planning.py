"""Planning a capture: one short pass shows which attention calls a model makes and how each can be captured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from attncli.capturing.attention_free import attention_free_layers
from attncli.capturing.model_errors import forward_failure, model_label
from attncli.capturing.probe import record
from attncli.capturing.sites import CapturePlan, Route, Site
from attncli.capturing.survey import survey
from attncli.data import Text
from attncli.errors import AttnError, ModelError, is_out_of_memory
from attncli.inputs.batches import Batch, accepted_arguments, unpadded
from attncli.inputs.encode import encode
from attncli.models import Loaded

PROBE = Text("The animal didn't cross the street because it was too tired.", target="It was.")
PROBE_TOKENS = 12
_WHY_EAGER = {
    "dispatch": "differ from the plain formula",
    "sdpa": "differ from the plain formula",
    "softmax": "compute softmax themselves",
    "output": "show their weights only in the model's outputs",
}


def plan(loaded: Loaded, route: Literal["auto", "stream", "eager"] = "auto", batch: Batch | None = None) -> CapturePlan:
    """Return how the attention of a model can be captured, found by one short pass.

    route  stream or eager to demand a route, auto to stream if every attention call allows it
    batch  encoded inputs for the pass, for a model without a tokenizer
    Raises `ModelError` if the model has no softmax attention over its tokens, cannot run on text alone, or cannot be
    streamed although that is demanded.
    """
    if batch is None:
        limit = min(PROBE_TOKENS, loaded.max_positions or PROBE_TOKENS)
        batch = next(encode(loaded, [PROBE], max_tokens=limit))
    else:
        batch = next(unpadded(batch))
    failures: list[str] = []
    refused: list[tuple[str, str]] = []
    for index, (name, caller) in enumerate(loaded.callers):
        has_target = "decoder_input_ids" in accepted_arguments(caller, batch.tensors)
        inputs = batch if has_target else replace(batch, target_mask=None)
        try:
            calls, outputs = record(loaded.model, caller, inputs)
        except AttnError:
            raise
        except Exception as error:  # the forward pass of any architecture
            if is_out_of_memory(error):
                raise
            failures.append(f"{name}: {forward_failure(loaded, inputs, error)}")
            continue
        sites, refused_calls = survey(calls, outputs, inputs, loaded.model.config)
        if sites:
            names = [call_name for call_name, _ in refused_calls]
            refused_calls += attention_free_layers(loaded.model, sites, names)
            chosen, reason, sites = _choose_route(loaded, route, sites)
            if index:
                reason += f"; text runs through its {name} alone"
            return CapturePlan(chosen, reason, index, tuple(sites), tuple(refused_calls))
        refused += refused_calls
    raise ModelError(_no_attention_message(loaded, failures, refused))


def _choose_route(loaded: Loaded, route: str, sites: list[Site]) -> tuple[Route, str, list[Site]]:
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
        f"{len(others)} of {len(sites)} attention calls {_WHY_EAGER[first.function]} ({first.name}), so the weights of "
        "the model itself are captured layer by layer"
    )
    if route == "stream":
        raise ModelError(f"{type(loaded.model).__name__} cannot be streamed: {reason}; use --capture auto")
    return "eager", reason, sites


def _no_attention_message(loaded: Loaded, failures: Sequence[str], refused: Sequence[tuple[str, str]]) -> str:
    label = model_label(loaded)
    if refused:
        name, reason = refused[0]
        return f"{label} has no softmax attention that can be measured token by token: {name}: {reason}"
    if failures and len(failures) == len(loaded.callers):
        return f"{label} does not run from text alone ({failures[0]})"
    return f"{label} has no softmax attention: nothing to capture (state-space, linear, Fourier or hashed attention)"
