"""Attributions for the page of `view`: computed for the prediction whose text the page shows."""

from __future__ import annotations

from dataclasses import replace

from attncli.data import Zoom
from attncli.engine.execution import Execution, unchanged
from attncli.engine.explain_request import ExplainRequest
from attncli.engine.explained import prepare_explained
from attncli.engine.reading import NOTHING
from attncli.errors import UsageError
from attncli.page import PageAttribution
from attncli.studies.attribute.compute import attribute
from attncli.studies.attribute.options import AttributeOptions
from attncli.studies.view.attributed import page_attribution


def attributed(execution: Execution, methods: str, explain: str) -> tuple[Execution, PageAttribution, tuple[str, ...]]:
    """Return the execution that reads the text with the prediction, the attribution, and notes on it.

    methods, explain  as for `attncli attribute`
    Raise UsageError for several texts, or if the prediction or a method does not fit the text.
    """
    if len(execution.texts) != 1:
        raise UsageError(f"--attribute explains one text, got {len(execution.texts)} texts: give one text")
    runner, plain = execution.runner, {"any_axes": False, "aggregate": "none", "aggregate_layers": "none"}
    request = replace(execution.request, **NOTHING, **plain, head_weights=None, zoom=Zoom())  # type: ignore[arg-type]
    wanted = ExplainRequest.parse(explain)
    prepared = prepare_explained(runner, execution.texts[0], request, wanted, execution.track)
    alone = replace(execution, request=request, load=lambda: runner, save_maps=False, finish=unchanged)
    run, result = attribute(alone, AttributeOptions(explain=explain, method=methods), None, prepared)
    # maps of a shared pass may be those of the text without the answer that is explained
    shown = replace(execution, load=lambda: runner, existing=None, ready=prepared)
    return shown, page_attribution(result, run.inputs[0]), run.info.notes
