"""What is wanted of a run: which attention, combined how, measured by what, kept or not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Literal, TypedDict

from attncli import registry
from attncli.data import By, Span, Zoom
from attncli.data.selection import Choice, NumbersOption, choose, parse_span
from attncli.engine.focus import FocusRequest
from attncli.engine.memory import parse_size
from attncli.errors import UsageError, did_you_mean
from attncli.vocabulary import (
    AGGREGATES,
    ALL_METRICS,
    BATCH_TOKENS,
    BYS,
    CAPTURES,
    ENDS,
    LAYER_AGGREGATES,
    POOLS,
    SPECIALS,
)


class ZoomOptions(TypedDict, total=False):
    """Which part of the maps is wanted, and how fine; all of it may be left out.

    rows, keys  a window: queries, keys by position such as `17`, `"8000-8400"`, `(8000, 8400)`; all by default
    resolution  at most so many cells a side: the tokens of longer texts are pooled
    pool        mean or max: what a cell is of its visible (query, key) pairs
    """

    rows: int | str | Span | None
    keys: int | str | Span | None
    resolution: int | None
    pool: Literal["mean", "max"]


class RunOptions(ZoomOptions, total=False):
    """What a run may be told; all of it may be left out.

    kind              encoder, decoder, cross, or several of them; all that the model has by default
    layer, head       `3`, `-1`, `"0,2,5-7"`, `[0, 2]`; all by default
    by                weight, or norm: how long the vectors are that heads write, instead of how much they look
    aggregate         none, or the mean or max over heads
    aggregate_layers  none, or the mean over layers
    words             rows and columns are words: the sum over a word's pieces as keys, the mean as queries
    special           keep, or drop special tokens from both axes (rows are renormalised)
    rows, keys        keep only this window, as in `ZoomOptions`
    resolution, pool  keep at most so many cells a side: longer texts are pooled while they stream
    max_tokens        cut longer texts
    generate          append so many greedy tokens, then read the whole
    batch_tokens      at most so many tokens in one forward pass, unless one text alone has more
    max_memory        bytes, or "4GB": more than this is not kept; half of what is free by default
    metrics           names to measure in the same pass, or "all"
    per_query         measure every query token too
    top_k, min_weight of each row the K largest weights, those from W on, or what is both
    profile           where attention goes over the whole text
    ends              for it: how many tokens the first and the last of a text are
    neurons           keep query and key vectors too, which `run.view()` shows
    keep_maps         False to measure only
    capture           auto, stream or eager
    """

    kind: str | Sequence[str] | None
    layer: NumbersOption
    head: NumbersOption
    by: By
    aggregate: Literal["none", "mean", "max"]
    aggregate_layers: Literal["none", "mean"]
    words: bool
    special: Literal["keep", "drop"]
    max_tokens: int | None
    generate: int
    batch_tokens: int
    max_memory: int | str | None
    metrics: Sequence[str] | str | None
    per_query: bool
    top_k: int | None
    min_weight: float | None
    profile: bool
    ends: int
    neurons: bool
    keep_maps: bool
    capture: Literal["auto", "stream", "eager"]


@dataclass(frozen=True)
class Request:
    """The same, checked and read. `metrics` empty: nothing is measured; `focus`: only these rows or columns."""

    choice: Choice = field(default_factory=Choice)
    by: By = "weight"
    aggregate: Literal["none", "mean", "max"] = "none"
    aggregate_layers: Literal["none", "mean"] = "none"
    words: bool = False
    special: Literal["keep", "drop"] = "keep"
    zoom: Zoom = field(default_factory=Zoom)
    max_tokens: int | None = None
    generate: int = 0
    batch_tokens: int = BATCH_TOKENS
    max_memory: int | None = None
    metrics: tuple[str, ...] = ()
    per_query: bool = False
    top_k: int | None = None
    min_weight: float | None = None
    profile: bool = False
    ends: int = ENDS
    neurons: bool = False
    keep_maps: bool = True
    capture: Literal["auto", "stream", "eager"] = "auto"
    focus: FocusRequest | None = None

    @classmethod
    def of(cls, options: RunOptions) -> Request:
        """Check what was asked for; a name that does not exist is a `UsageError` with close names."""
        unknown = next((name for name in options if name not in RunOptions.__annotations__), None)
        if unknown is not None:
            raise UsageError(f"unknown option '{unknown}': {did_you_mean(unknown, RunOptions.__annotations__)}")
        check_choice(options, "by", BYS)
        check_choice(options, "aggregate", AGGREGATES)
        check_choice(options, "aggregate_layers", LAYER_AGGREGATES)
        check_choice(options, "special", SPECIALS)
        check_choice(options, "capture", CAPTURES)
        _at_least(options, "max_tokens", 1)
        _at_least(options, "generate", 0)
        _at_least(options, "batch_tokens", 1)
        _at_least(options, "top_k", 1)
        _at_least(options, "ends", 1)
        check_share(options, "min_weight")
        rest: dict[str, Any] = dict(options)
        choice = choose(rest.pop("kind", None), rest.pop("layer", None), rest.pop("head", None))
        zoom = zoom_of({name: rest.pop(name) for name in ZoomOptions.__annotations__ if name in rest})
        rest["metrics"] = metric_names(rest.get("metrics"))
        rest["max_memory"] = parse_size(rest.get("max_memory"))
        request = cls(choice=choice, zoom=zoom, **rest)
        if request.neurons and (request.combined or request.words or request.drop):
            raise UsageError(
                "--neurons shows single heads and all tokens as the model has them: "
                "leave out --aggregate, --aggregate-layers, --words and --special drop"
            )
        if request.by == "norm":
            _check_norms(request)
        if not (request.metrics or request.keep_maps or request.extras or request.neurons):
            raise UsageError("keep_maps=False and no metrics: the run would bring nothing; name metrics, or 'all'")
        if request.metrics and request.combined and zoom != Zoom():
            raise UsageError(
                "what is combined is measured on whole maps: leave out metrics, or the window and resolution"
            )
        if request.extras and request.combined:
            raise UsageError(
                "--top-k, --min-weight and --profile look at single heads: leave out --aggregate and --aggregate-layers"
            )
        return request

    @property
    def drop(self) -> bool:
        return self.special == "drop"

    @property
    def combined(self) -> bool:
        """Whether heads or layers become one map."""
        return (self.aggregate, self.aggregate_layers) != ("none", "none")

    @property
    def edges(self) -> bool:
        """Whether the strongest edges are wanted."""
        return self.top_k is not None or self.min_weight is not None

    @property
    def extras(self) -> bool:
        """Whether edges or a profile are asked for, beside maps and metrics."""
        return self.edges or self.profile

    def resolved(self) -> dict[str, Any]:
        """All options that change the result, as plain values."""
        left_out = ("choice", "zoom", "max_memory", "keep_maps", "focus")
        chosen = {"kinds": self.choice.kinds, "layers": self.choice.layers, "heads": self.choice.heads}
        chosen |= {name: getattr(self.zoom, name) for name in ("rows", "keys", "resolution", "pool")}
        rest = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in left_out}
        return {name: _listed(value) for name, value in (chosen | rest).items()}


def _check_norms(request: Request) -> None:
    """A `UsageError` for what is of weights alone."""
    if request.extras or request.neurons:
        raise UsageError("--top-k, --min-weight, --profile and --neurons are of weights: leave them out, or --by norm")
    if request.capture == "eager":
        raise UsageError(
            "--by norm needs the values beside the weights, which --capture eager does not see: use --capture auto"
        )


def zoom_of(options: Mapping[str, Any]) -> Zoom:
    """Check which window and how many cells are wanted."""
    check_choice(options, "pool", POOLS)
    _at_least(options, "resolution", 1)
    rows, keys = (parse_span(options.get(name), name) for name in ("rows", "keys"))
    return Zoom(options.get("resolution"), options.get("pool", POOLS[0]), rows, keys)


def _listed(value: Any) -> Any:
    """Tuples as lists, as they come back from JSON."""
    return [_listed(entry) for entry in value] if isinstance(value, tuple) else value


def metric_names(wanted: Sequence[str] | str | None) -> tuple[str, ...]:
    """Names of metrics that exist, in the order given, each once; `all` is every one."""
    if wanted is None:
        return ()
    there = registry.names("metrics")
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    if ALL_METRICS in names:
        return tuple(there)
    for name in names:
        if name not in there:
            raise UsageError(f"unknown metric '{name}': {did_you_mean(name, there)}")
    return tuple(dict.fromkeys(names))


def check_choice(options: Mapping[str, Any], name: str, values: Sequence[str]) -> None:
    """A `UsageError` unless the option has one of these values or is left out."""
    value = options.get(name, values[0])
    if value not in values:
        raise UsageError(f"unknown --{name.replace('_', '-')} '{value}': {did_you_mean(str(value), values)}")


def check_share(options: Mapping[str, Any], name: str) -> None:
    """A `UsageError` unless the option is above 0 and at most 1, or left out."""
    value = options.get(name)
    if value is not None and not (isinstance(value, int | float) and 0 < value <= 1):
        raise UsageError(f"expected --{name.replace('_', '-')} to be above 0 and at most 1, got {value!r}")


def _at_least(options: Mapping[str, Any], name: str, least: int) -> None:
    value = options.get(name)
    if value is not None and (not isinstance(value, int) or value < least):
        raise UsageError(f"expected --{name.replace('_', '-')} to be a number from {least} up, got {value!r}")
