"""A run that keeps nothing until it is asked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, overload

from attncli.arguments import checks_arguments
from attncli.data import Attention, RowsAs, Statistics
from attncli.data.described import Described, counted, listed
from attncli.data.measuring import Measuring, PoolTexts
from attncli.engine.collected import Collected
from attncli.engine.request import Request, metric_names
from attncli.vocabulary import ALL_METRICS

if TYPE_CHECKING:  # a saved run needs no torch
    from attncli.engine.reading import Reading

Maps = tuple[Attention, ...]


class MapsOnDemand:
    """The field `maps` of a run: if it is empty when it is read, the run keeps its maps first."""

    @overload
    def __get__(self, run: None, owner: type) -> Maps: ...

    @overload
    def __get__(self, run: LazyRun, owner: type) -> Maps: ...

    def __get__(self, run: LazyRun | None, owner: type) -> Maps:
        """Return the maps of a run; of the class, the default of the field."""
        if run is None:
            return ()
        run.keep()
        maps: Maps = vars(run)["maps"]
        return maps

    def __set__(self, run: LazyRun, maps: Maps) -> None:
        vars(run)["maps"] = maps


@checks_arguments
@dataclass(frozen=True, eq=False, repr=False)
class LazyRun(Described, Collected):
    """The results of one or more forward passes over the same texts, each made for a question, or of a saved run.

    reading  the model and the encoded texts; None for a saved run
    """

    maps: MapsOnDemand = MapsOnDemand()
    reading: Reading | None = None

    def _lines(self) -> Iterable[str]:
        tokens = sum(len(text.source) + len(text.target or ()) for text in self.inputs)
        maps: Maps = vars(self)["maps"]
        kinds = dict.fromkeys(attention.kind for attention in maps)
        kept = {
            f"maps ({listed(kinds)})": bool(maps),
            "statistics": bool(self.statistics or (self.reading and self.reading.measured)),
        }
        kept |= {
            "edges": self.strongest is not None,
            "a profile": self.whole is not None,
            "vectors": bool(self.vectors),
        }
        names = [name for name, is_kept in kept.items() if is_kept]
        read = f"{counted(len(self.inputs), 'text')} of {counted(tokens, 'token')}"
        yield f"{type(self).__name__} of {self.info.title} on {read}: keeps {listed(names) or 'nothing yet'}"
        yield "" if not self.inputs else f"{self.inputs[0]!r}".splitlines()[0]

    @property
    def streams(self) -> bool:
        """Whether questions need a forward pass: there is a model, and no kept maps of whole texts."""
        maps: Maps = vars(self)["maps"]
        return self.reading is not None and not (maps and all(attention.whole for attention in maps))

    def keep(self) -> None:
        """Run the model and keep all maps, unless they are kept already or may not be kept."""
        if self.reading is not None and self.reading.keeps_maps and not vars(self)["maps"]:
            kept = self.reading.take(keep_maps=True)
            notes = tuple(dict.fromkeys((*self.info.notes, *kept.info.notes)))
            vars(self).update(info=replace(self.info, notes=notes), maps=kept.maps)

    @property
    def measuring(self) -> Measuring:
        """How statistics are measured by default: as `model.run` was asked for, or as those of a saved run were."""
        if self.reading is None:
            return super().measuring
        request = self.reading.prepared.request
        return Measuring(False, request.rows_named_as, request.pool_texts, request.special_tokens)

    def stats(
        self,
        metrics: Sequence[str] | str | None = None,
        per_query: bool = False,
        *,
        pool_texts: PoolTexts | None = None,
        special_tokens: bool | None = None,
        rows_as: RowsAs | None = None,
    ) -> Statistics:
        """Return every metric (or the named ones) of every head, from one pass that keeps no maps, or from kept maps.

        metrics         names of metrics; by default those that `model.run` was asked for, or else all
        per_query       also return the scores of each token
        pool_texts      texts: a mean over texts counts each text once; tokens: as many times as it has rows with a
                        value, which is then the mean over all rows
        special_tokens  also the attention to each special token by name, `[CLS]_mass`, and to punctuation
        rows_as         input: the scores of each token are those of its own row; predicted: of the row that predicts it
        None is what `model.run` was asked for. `.layers_frame()` of the result is the table of layers.
        Raise UsageError if a metric is unknown, or a saved run has neither maps nor these statistics.
        """
        names = metric_names(ALL_METRICS if metrics is None else metrics)
        given: dict[str, Any] = {"pool_texts": pool_texts, "special_tokens": special_tokens, "rows_as": rows_as}
        if self.reading is None:
            return super().stats(metrics, per_query, **given)
        how = self.measuring.given(per_query=per_query, **given)
        if self.statistics is not None and self.statistics.has(names if metrics else (), how):
            return self.statistics.select(names, how.special_tokens)
        earlier = self.reading.earlier(names, how)
        if earlier is None and not self.streams:
            return super().stats(metrics, per_query, **given)
        return (earlier or self.reading.measure(names, how)).select(names, how.special_tokens)

    def extras(self, request: Request) -> Collected:
        """Return a run with the edges or the profile that a request asks for, from kept maps or else from a pass."""
        if self.reading is None or not self.streams:
            return self.with_extras(request)
        names = ("top_k", "min_weight", "profile", "ends", "min_rows")
        return self.reading.take(**{name: getattr(request, name) for name in names})

    def _lasting_statistics(self) -> Statistics | None:
        """Return the statistics that stay when the model is gone, which are not in the maps: those of pooled maps."""
        maps: Maps = vars(self)["maps"]
        if self.statistics is not None or self.reading is None or all(attention.whole for attention in maps):
            return self.statistics
        measured = (statistics for _, statistics in self.reading.measured)
        return max(measured, key=lambda statistics: (len(statistics.heads), bool(statistics.tokens)), default=None)

    def __getstate__(self) -> dict[str, Any]:
        """Return what another process gets: all maps, but no model."""
        self.keep()
        return {**vars(self), "statistics": self._lasting_statistics(), "reading": None}
