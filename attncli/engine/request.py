"""Options of a run: which attention is read, how it is combined and measured, and whether maps are kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, TypedDict

from attncli import registry, vocabulary
from attncli.arguments import check_names
from attncli.data import By, RowsAs, Span, Zoom
from attncli.data.head_weights import HeadWeights
from attncli.data.selection import Choice, NumbersOption, choose, parse_tokens
from attncli.engine.checks import (
    NO_DISTRIBUTION,
    check_at_least,
    check_choice,
    check_is_bool,
    check_least_rows,
    check_share,
)
from attncli.engine.focus import FocusRequest
from attncli.engine.memory import parse_size
from attncli.errors import UsageError, did_you_mean
from attncli.inputs.importance_file import parse_aggregate
from attncli.inputs.rows_as import check_rows_as
from attncli.inputs.word_ids import WordIds, parse_word_ids
from attncli.store.text import plain

NEW_OPTIONS = ("add_bos", "head_weights", "min_rows", "pool_texts", "special_tokens")
"""Options that the digests of earlier versions do not have: they enter the digest if they are given."""


class ZoomOptions(TypedDict, total=False):
    """Options for a part of the maps and its resolution; all are optional.

    rows, keys  a window of queries, of keys: positions such as `17`, `"8000-8400"`, `(8000, 8400)`, or the name of
                tokens, such as `"generated"` or `"it"`; all by default
    rows_as     input: the rows of the queries themselves; predicted: the rows that predict them, the default for
                generated and assistant
    resolution  largest number of cells on a side: tokens of longer texts are pooled
    pool        mean or max of the weights of the visible (query, key) pairs of a cell
    """

    rows: int | str | Span | None
    keys: int | str | Span | None
    rows_as: RowsAs | None
    resolution: int | None
    pool: Literal["mean", "max"]


class RunOptions(ZoomOptions, total=False):
    """Options of a run; all are optional.

    kind              encoder, decoder, cross, or several of them; all that the model has by default
    layer, head       `3`, `-1`, `"0,2,5-7"`, `[0, 2]`; all by default
    by                weight, or norm: the norm of the value-weighted vector instead of the attention weight
    aggregate         none, or the mean or max over heads; or the weights of heads in a mean: "weights:FILE" of
                      `attncli importance`, its result, or a table with columns kind, layer, head and weight
    aggregate_layers  none, or the mean over layers
    words             rows and columns are words: the sum over a word's pieces as keys, the mean as queries
    word_ids          your own words for `words`: the number of the word of each token, None for a token of no word; one
                      list for each text, or for an encoder-decoder {"source": […], "target": […]}
    special           keep, or drop special tokens from both axes (rows are renormalised)
    rows, keys        keep only this window, as in `ZoomOptions`
    resolution, pool  pool longer texts to this number of cells on a side while they stream
    max_tokens        cut longer texts
    generate          number of tokens to generate greedily and append before the text is read
    add_bos           begin texts with the start token (BOS) where the tokenizer adds none
    batch_tokens      largest number of tokens in one forward pass, unless one text has more
    max_memory        largest size of kept results, bytes or "4GB"; half of the free memory by default
    metrics           names to measure in the same pass, or "all"
    per_query         measure every query token too
    pool_texts        texts: a mean over texts counts each text once; tokens: as many times as it has rows with a value
    special_tokens    with metrics: measure the attention to each special token by name and to punctuation too
    top_k, min_weight keep edges: the K largest weights of each row, the weights from W up, or weights that are both
    profile           measure where attention goes over the whole text
    ends              number of tokens in the first and in the last part of a text, for the profile
    min_rows          fewest tokens that must see a key for it to be a sink of the profile: a number from 1 up, or a
                      share of all below 1; by default 5 % of them, at least 5
    neurons           keep query and key vectors too, which `run.view()` shows
    keep_maps         False to measure only
    capture           auto, stream or eager
    compile           on to compile what reads attention, off, or auto: for texts of 64,000 characters or more, if a
                      compiler is found
    """

    kind: str | Sequence[str] | None
    layer: NumbersOption
    head: NumbersOption
    by: By
    aggregate: Any
    aggregate_layers: Literal["none", "mean"]
    words: bool
    word_ids: Sequence[Any] | None
    special: Literal["keep", "drop"]
    max_tokens: int | None
    generate: int
    add_bos: bool
    batch_tokens: int
    max_memory: int | str | None
    metrics: Sequence[str] | str | None
    per_query: bool
    pool_texts: Literal["texts", "tokens"]
    special_tokens: bool
    top_k: int | None
    min_weight: float | None
    profile: bool
    ends: int
    min_rows: float | None
    neurons: bool
    keep_maps: bool
    capture: Literal["auto", "stream", "eager"]
    compile: Literal["auto", "on", "off"]


@dataclass(frozen=True)
class Request:
    """Checked options of a run, as in `RunOptions`; of the focus, if any, only rows or columns are kept.

    any_axes  whether rows and keys may stand for several tokens or for none
    head_weights  the weights of heads, if `aggregate` is weighted
    compile_notes  why attention that was to be compiled is not
    named_as  how rows of statistics and edges are named where that of the zoom does not count, as maps are whole
    """

    choice: Choice = field(default_factory=Choice)
    by: By = "weight"
    aggregate: Literal["none", "mean", "max", "weighted"] = "none"
    aggregate_layers: Literal["none", "mean"] = "none"
    words: bool = False
    word_ids: WordIds | None = None
    special: Literal["keep", "drop"] = "keep"
    zoom: Zoom = field(default_factory=Zoom)
    max_tokens: int | None = None
    generate: int = 0
    add_bos: bool = False
    batch_tokens: int = vocabulary.BATCH_TOKENS
    max_memory: int | None = None
    metrics: tuple[str, ...] = ()
    per_query: bool = False
    pool_texts: Literal["texts", "tokens"] = "texts"
    special_tokens: bool = False
    top_k: int | None = None
    min_weight: float | None = None
    profile: bool = False
    ends: int = vocabulary.ENDS
    min_rows: float | None = None
    neurons: bool = False
    keep_maps: bool = True
    capture: Literal["auto", "stream", "eager"] = "auto"
    compile: Literal["auto", "on", "off"] = "auto"
    compile_notes: tuple[str, ...] = ()
    focus: FocusRequest | None = None
    any_axes: bool = False
    named_as: RowsAs = "input"
    head_weights: HeadWeights | None = None

    @classmethod
    def of(cls, options: RunOptions) -> Request:
        """Return the checked options; raise UsageError if a name or value is wrong or options contradict each other."""
        check_names(options, RunOptions)
        weights = parse_aggregate(options.get("aggregate", "none"))
        choices = {
            "by": vocabulary.BYS,
            "aggregate": (*vocabulary.AGGREGATES, vocabulary.WEIGHTS_FILE)
            if weights is None
            else (options["aggregate"],),
            "aggregate_layers": vocabulary.LAYER_AGGREGATES,
            "special": vocabulary.SPECIALS,
            "pool_texts": vocabulary.POOL_TEXTS,
        }
        for name, values in {**choices, "capture": vocabulary.CAPTURES, "compile": vocabulary.COMPILES}.items():
            check_choice(options, name, values)
        for name, least in {"max_tokens": 1, "generate": 0, "batch_tokens": 1, "top_k": 1, "ends": 1}.items():
            check_at_least(options, name, least, optional=name in ("max_tokens", "top_k"))
        for name in ("add_bos", "words", "per_query", "special_tokens", "profile", "neurons", "keep_maps"):
            check_is_bool(options, name)
        check_share(options, "min_weight")
        check_least_rows(options.get("min_rows"))
        rest: dict[str, Any] = dict(options)
        choice = choose(rest.pop("kind", None), rest.pop("layer", None), rest.pop("head", None))
        zoom = zoom_of({name: rest.pop(name) for name in ZoomOptions.__annotations__ if name in rest})
        rest |= {"aggregate": "weighted", "head_weights": weights} if weights else {}
        rest["word_ids"] = parse_word_ids(rest.get("word_ids"))
        rest["words"] = bool(rest.get("words")) or rest["word_ids"] is not None
        rest["metrics"] = metric_names(rest.get("metrics"))
        rest["max_memory"] = parse_size(rest.get("max_memory"))
        request = cls(choice=choice, zoom=zoom, **rest)
        if not (request.metrics or request.keep_maps or request.extras or request.neurons):
            raise UsageError(
                "keep_maps=False and no metrics: the run would return nothing; give metrics, such as 'all'"
            )
        return request.checked()

    def checked(self) -> Request:
        """Return itself; raise UsageError if options exclude each other."""
        if self.neurons and (self.combined or self.words or self.dropped_special):
            raise UsageError(
                "--neurons shows single heads and all tokens as the model has them: "
                "leave out --aggregate, --aggregate-layers, --words and --special drop"
            )
        if self.by == "norm" and (self.extras or self.neurons):
            raise UsageError(
                "--top-k, --min-weight, --profile and --neurons need weights: leave them out, or leave out --by norm"
            )
        if self.by == "norm" and self.capture == "eager":
            raise UsageError(
                "--by norm needs value vectors, which --capture eager does not capture: use --capture auto"
            )
        if self.measures_maps and replace(self.zoom, rows_as=None) != Zoom():
            raise UsageError(
                "metrics and edges of combined layers need full maps: leave them out, or the window and resolution"
            )
        if self.metrics and self.aggregate == "max":
            raise UsageError(NO_DISTRIBUTION)
        if self.profile and self.combined:
            raise UsageError("--profile needs single heads: leave out --aggregate and --aggregate-layers")
        return self

    @property
    def dropped_special(self) -> bool:
        return self.special == "drop"

    @property
    def needs_tokens(self) -> str:
        """Why rows and keys must be tokens; "" if they need not be."""
        reasons = {
            "this analysis reads attention between tokens": not self.any_axes or self.focus is not None,
            "importance is that of attention between tokens": self.head_weights is not None,
            "--words merges tokens": self.words,
            "--special drop drops tokens": self.dropped_special,
            "--rows and --keys name tokens": self.zoom.windowed,
        }
        return next((reason for reason, holds in reasons.items() if holds), "")

    @property
    def combined(self) -> bool:
        """Whether heads or layers are combined into one map."""
        return (self.aggregate, self.aggregate_layers) != ("none", "none")

    @property
    def rows_named_as(self) -> RowsAs:
        """How rows of statistics and edges are named: by their own token, or by the one that they predict."""
        return "predicted" if "predicted" in (self.zoom.rows_as, self.named_as) else "input"

    @property
    def measures_maps(self) -> bool:
        """Whether metrics and edges are those of kept maps: a mean over layers is complete after the pass only."""
        return (bool(self.metrics) or self.edges) and self.aggregate_layers != "none"

    @property
    def edges(self) -> bool:
        """Whether the strongest edges are requested."""
        return self.top_k is not None or self.min_weight is not None

    @property
    def extras(self) -> bool:
        """Whether edges or a profile are requested in addition to maps and metrics."""
        return self.edges or self.profile

    def resolved(self) -> dict[str, Any]:
        """Return all options that change the result, as plain values."""
        left_out = ("choice", "zoom", "max_memory", "keep_maps", "focus", "any_axes", "named_as", "compile_notes")
        selected = {"kinds": self.choice.kinds, "layers": self.choice.layers, "heads": self.choice.heads}
        selected |= {name: getattr(self.zoom, name) for name in ("rows", "keys", "rows_as", "resolution", "pool")}
        rest = {option.name: getattr(self, option.name) for option in fields(self) if option.name not in left_out}
        # the digests of earlier versions have no such options
        new = [name for name in NEW_OPTIONS if rest[name] == getattr(type(self), name)]
        rest["head_weights"] = None if self.head_weights is None else self.head_weights.sha256
        rest = {name: value for name, value in rest.items() if name not in new}
        if self.compile != "on":  # plain numbers are those of earlier versions
            del rest["compile"]
        resolved: dict[str, Any] = plain(selected | rest)
        return resolved


def zoom_of(options: Mapping[str, Any]) -> Zoom:
    """Return the checked window and resolution; raise UsageError if a value is wrong."""
    check_choice(options, "pool", vocabulary.POOLS)
    check_at_least(options, "resolution", 1)
    rows, keys = (parse_tokens(options.get(name), name) for name in ("rows", "keys"))
    rows_as = check_rows_as(options.get("rows_as"))
    return Zoom(options.get("resolution"), options.get("pool", vocabulary.POOLS[0]), rows, keys, rows_as)


def metric_names(wanted: Sequence[str] | str | None) -> tuple[str, ...]:
    """Return names of metrics without repetition, every metric for `all`; raise UsageError if one does not exist."""
    if wanted is None:
        return ()
    known = registry.names("metrics")
    if not isinstance(wanted, Iterable):
        raise UsageError(f"expected metrics as one or several names, or 'all', got {wanted!r:.60}")
    names = [wanted] if isinstance(wanted, str) else list(wanted)
    if vocabulary.ALL_METRICS in names:
        return tuple(known)
    for name in names:
        if name not in known:
            raise UsageError(f"unknown metric '{str(name)[:60]}': {did_you_mean(str(name), known)}")
    return tuple(dict.fromkeys(names))
