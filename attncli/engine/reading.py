"""A forward pass that waits until something is asked, and is repeated for what no earlier pass gave."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

from attncli.data import Statistics, Text, Zoom
from attncli.data.measuring import Measuring
from attncli.engine.collected import Collected
from attncli.engine.execution import Execution
from attncli.engine.passes import Pass
from attncli.engine.request import Request
from attncli.engine.study import Study
from attncli.errors import UsageError
from attncli.models.state import State, weights_state

NOTHING: Mapping[str, Any] = {
    "metrics": (),
    **dict.fromkeys(("keep_maps", "per_query", "special_tokens", "profile", "neurons"), False),
    "pool_texts": "texts",
    **dict.fromkeys(("top_k", "min_weight", "focus")),
}
"""The fields of a request that asks for nothing."""


@dataclass(frozen=True, eq=False)
class Reading:
    """Encoded texts and the model that reads them, by one pass for each new question.

    prepared    the pass over the texts, with the options of the run
    texts       the texts as they were given
    keeps_maps  whether a pass may keep maps
    state       the state of the weights when the run began: passes of two states are never mixed
    measured    the statistics of earlier passes, with the names of the metrics that they were asked for
    """

    prepared: Pass
    texts: tuple[Text, ...]
    keeps_maps: bool
    state: State
    measured: list[tuple[frozenset[str], Statistics]] = field(default_factory=list)

    @classmethod
    def of(cls, prepared: Pass, texts: Sequence[Text], keeps_maps: bool) -> Self:
        """Return the reading of a prepared pass; raise UsageError if a text lacks the selected rows or keys."""
        prepared.check_window()
        return cls(prepared, tuple(texts), keeps_maps, weights_state(prepared.loaded.model))

    def take(self, **asked: Any) -> Collected:
        """Run one pass and return what is asked: `keep_maps`, `metrics` and other fields of `Request`, nothing else.

        Raise UsageError if the weights have changed, the maps do not fit into memory, or options exclude each other.
        """
        self._check_weights()
        request = replace(self.prepared.request, **{**NOTHING, **asked}).checked()
        return replace(self.prepared, request=request).collect(self.texts)

    def measure(self, metrics: tuple[str, ...], how: Measuring) -> Statistics:
        """Return the statistics of a pass; no maps are kept but those of a mean over layers."""
        options = {**vars(how), "named_as": how.rows_as}
        del options["rows_as"]
        statistics = self.take(metrics=metrics, zoom=Zoom(), **options).statistics
        assert statistics is not None  # metrics were asked for
        self.measured.append((frozenset(metrics), statistics))
        return statistics

    def earlier(self, metrics: tuple[str, ...], how: Measuring) -> Statistics | None:
        """Return the statistics of an earlier pass that was asked for all of this; None if there is none."""
        for names, statistics in self.measured:
            if names.issuperset(metrics) and statistics.has((), how):
                return statistics
        return None

    def execution(self, study: Study[Any]) -> Execution:
        """Return the execution of a study that streams the texts of this run; the study has no model to ask more."""
        self._check_weights()
        default, needed = Request(), Request.of(study.run_options())
        changed = {option.name: getattr(needed, option.name) for option in fields(Request)}
        changed = {name: value for name, value in changed.items() if value != getattr(default, name)}
        request = replace(self.prepared.request, **{**NOTHING, **changed, "any_axes": study.any_axes}).checked()
        study.check(request)
        return Execution(request, self.texts, ready=self.prepared)

    def _check_weights(self) -> None:
        if weights_state(self.prepared.loaded.model) != self.state:
            raise UsageError(
                "the weights of the model have changed since this run began, and its results would mix two models: "
                "run the model again, or with keep_maps=True, which keeps all maps at once"
            )
