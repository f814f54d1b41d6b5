"""Every option of the command line, each defined once, in the groups that all commands share.

A command names groups as its parameters; `flat` turns their fields into the options that Typer sees.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Annotated, Any, get_type_hints

import typer

from attncli import registry

DEFAULT_MODEL = "demo:encoder"
MODEL_HEADS = (
    *("auto", "base", "causal-lm", "masked-lm", "seq2seq-lm"),
    *("sequence-classification", "token-classification", "question-answering"),
)
KINDS = ("encoder", "decoder", "cross")
LAYOUTS = ("layer,head,query,key", "query,key,head")
SCALES = ("shared", "panel")
POOLS = ("mean", "max")
RESOLUTION = 1024
MAPS_FORMATS = ("safetensors", "npz")


def option(
    panel: str,
    *names: str,
    metavar: str | None = None,
    among: Sequence[str] = (),
    complete: Callable[[], Sequence[str]] | None = None,
    help: str,
) -> Any:
    """An option whose values are `among` these, or are completed by asking."""
    return typer.Option(
        *names,
        metavar=metavar or "|".join(among) or None,
        help=help,
        rich_help_panel=panel,
        autocompletion=complete or ((lambda: list(among)) if among else None),
        show_default=False,
    )


def _metrics() -> list[str]:
    return registry.names("metrics")


def _model(*names: str, **more: Any) -> Any:
    return option("Model", *names, **more)


def _input(*names: str, **more: Any) -> Any:
    return option("Input", *names, **more)


def _selection(*names: str, **more: Any) -> Any:
    return option("Selection", *names, **more)


def _output(*names: str, **more: Any) -> Any:
    return option("Output", *names, **more)


def _again(*names: str, **more: Any) -> Any:
    return option("Again, without the model", *names, **more)


@dataclass(frozen=True)
class ModelOptions:
    """Which model, and how it is loaded."""

    model: Annotated[
        str | None,
        _model(
            *("--model", "-m"),
            metavar="ID_OR_DIR",
            help=f"Hub id, folder, or demo:encoder, demo:decoder, demo:seq2seq (default: {DEFAULT_MODEL})",
        ),
    ] = None
    revision: Annotated[str | None, _model("--revision", metavar="NAME", help="branch, tag or commit on the Hub")] = (
        None
    )
    tokenizer: Annotated[
        str | None, _model("--tokenizer", metavar="ID_OR_DIR", help="a tokenizer other than the model's own")
    ] = None
    target_tokenizer: Annotated[
        str | None,
        _model("--target-tokenizer", metavar="ID_OR_DIR", help="the decoder's, where vocabularies differ"),
    ] = None
    model_head: Annotated[
        str,
        _model(
            "--model-head",
            among=MODEL_HEADS,
            metavar="NAME",
            help=f"which head to load the model with: {', '.join(MODEL_HEADS)} (default: auto)",
        ),
    ] = "auto"
    device: Annotated[
        str, _model("--device", metavar="auto|cpu|cuda|cuda:N|mps", help="where it runs (default: auto)")
    ] = "auto"
    dtype: Annotated[
        str,
        _model(
            "--dtype",
            among=("auto", "float32", "bfloat16", "float16"),
            help="its precision (default: the checkpoint's)",
        ),
    ] = "auto"
    trust_remote_code: Annotated[
        bool, _model("--trust-remote-code", help="let Python code that comes with the model run")
    ] = False
    capture: Annotated[
        str, _model("--capture", among=("auto", "stream", "eager"), help="how attention is caught (default: auto)")
    ] = "auto"


@dataclass(frozen=True)
class InputOptions:
    """Which texts."""

    text: Annotated[list[str] | None, _input("--text", "-t", metavar="TEXT", help="a text; may be repeated")] = None
    pair: Annotated[str | None, _input("--pair", metavar="TEXT", help="the second segment of the text")] = None
    target: Annotated[
        str | None,
        _input("--target", metavar="TEXT", help="what the decoder reads; without it the model writes one and says so"),
    ] = None
    file: Annotated[
        str | None,
        _input("--file", "-f", metavar="PATH", help="one text a line, or .jsonl, .csv, .parquet; - is stdin"),
    ] = None
    column: Annotated[
        str | None, _input("--column", metavar="NAME", help="the column with the texts (default: text)")
    ] = None
    chat: Annotated[
        str | None, _input("--chat", metavar="FILE", help="JSON messages, through the model's chat template")
    ] = None
    generate: Annotated[int, _input("--generate", metavar="N", help="append N greedy tokens, then read the whole")] = 0
    max_tokens: Annotated[int | None, _input("--max-tokens", metavar="N", help="cut longer texts")] = None
    batch_tokens: Annotated[
        int, _input("--batch-tokens", metavar="N", help="tokens of one forward pass; texts of one length share it")
    ] = 4096


@dataclass(frozen=True)
class SelectionOptions:
    """Which attention, and how it is read."""

    kind: Annotated[
        list[str] | None,
        _selection("--kind", among=KINDS, help="may be repeated (default: all that the model has)"),
    ] = None
    layer: Annotated[
        str | None, _selection("--layer", "-l", metavar="LAYERS", help="all, 3, -1 or 0,2,5-7, counted from 0")
    ] = None
    head: Annotated[
        list[str] | None,
        _selection(
            "--head", "-H", metavar="HEADS", help="the same for heads; a name such as causal-lm means --model-head"
        ),
    ] = None
    aggregate: Annotated[
        str, _selection("--aggregate", among=("none", "mean", "max"), help="combine heads into one map")
    ] = "none"
    aggregate_layers: Annotated[
        str, _selection("--aggregate-layers", among=("none", "mean"), help="combine layers into one map")
    ] = "none"
    words: Annotated[
        bool, _selection("--words", help="words instead of pieces: the sum over pieces as keys, the mean as queries")
    ] = False
    special: Annotated[
        str,
        _selection(
            "--special", among=("keep", "drop"), help="drop: special tokens leave both axes, rows are renormalised"
        ),
    ] = "keep"


@dataclass(frozen=True)
class FolderOptions:
    """Where results go, and how much may be held on the way."""

    out: Annotated[
        str | None,
        _output("--out", "-o", metavar="DIR", help="folder (default: outputs/COMMAND/MODEL/DIGEST)"),
    ] = None
    force: Annotated[bool, _output("--force", help="replace files of another run, or of a stranger")] = False
    max_memory: Annotated[
        str | None,
        _output("--max-memory", metavar="SIZE", help="keep at most, such as 4GB (default: half of what is free)"),
    ] = None


@dataclass(frozen=True)
class OutputOptions(FolderOptions):
    """What is written, and where."""

    format: Annotated[
        list[str] | None,
        _output(
            "--format",
            metavar="NAMES",
            help="pictures: png, svg, pdf; highlight, view: html; tables: also parquet, jsonl; with commas",
        ),
    ] = None
    save_maps: Annotated[bool, _output("--save-maps", help="also keep the selected maps, for --from")] = False
    maps_format: Annotated[
        str, _output("--maps-format", among=MAPS_FORMATS, help="the file that --save-maps writes")
    ] = "safetensors"
    layout: Annotated[str, _output("--layout", metavar="AXES", help=f"order of axes in it: {' or '.join(LAYOUTS)}")] = (
        LAYOUTS[0]
    )


@dataclass(frozen=True)
class PictureOptions:
    """How maps are laid out in pictures; of `heatmap` alone."""

    grid: Annotated[bool, option("Pictures", "--grid", help="one page of all that is selected")] = False
    each: Annotated[bool, option("Pictures", "--each", help="one picture for every head that is selected")] = False
    resolution: Annotated[
        int,
        option(
            *("Pictures", "--resolution"),
            metavar="N",
            help=f"at most N cells a side: longer texts are pooled (default: {RESOLUTION})",
        ),
    ] = RESOLUTION
    pool: Annotated[
        str, option("Pictures", "--pool", among=POOLS, help="what a cell is of its query-key pairs (default: mean)")
    ] = POOLS[0]
    rows: Annotated[
        str | None,
        option("Pictures", "--rows", metavar="A-B", help="only these queries, such as 8000-8400, counted from 0"),
    ] = None
    keys: Annotated[str | None, option("Pictures", "--keys", metavar="A-B", help="only these keys")] = None
    log: Annotated[
        bool | None,
        option(
            *("Pictures", "--log/--linear"),
            help="colours by the logarithm of the weight (default: where more than 256 tokens are shown)",
        ),
    ] = None
    scale: Annotated[
        str,
        option(
            *("Pictures", "--scale"),
            among=SCALES,
            help="shared: one colour scale for all of a text and kind; panel: each its own",
        ),
    ] = "shared"


@dataclass(frozen=True)
class MeasureOptions:
    """What is measured; of `stats` alone."""

    metric: Annotated[
        list[str] | None,
        option(
            *("Measures", "--metric"),
            complete=_metrics,
            metavar="NAME",
            help="only this one; may be repeated (see attncli explain)",
        ),
    ] = None
    per_query: Annotated[bool, option("Measures", "--per-query", help="also a row for every token")] = False
    spread: Annotated[
        bool, option("Measures", "--spread", help="also stats-spread.png: the heads of each layer as points")
    ] = False
    top_k: Annotated[
        int | None,
        option(*("Measures", "--top-k"), metavar="K", help="edges.parquet: of each token the K strongest weights"),
    ] = None
    min_weight: Annotated[
        float | None,
        option(*("Measures", "--min-weight"), metavar="W", help="edges.parquet: weights of at least W alone"),
    ] = None
    profile: Annotated[
        bool,
        option(
            *("Measures", "--profile"),
            help="where attention goes over the whole text: what each key receives, sinks, distances, ends",
        ),
    ] = False
    sink_threshold: Annotated[
        float,
        option(
            *("Measures", "--sink-threshold"),
            metavar="SHARE",
            help="the attention that a key must receive to be a sink (default: 0.3)",
        ),
    ] = 0.3
    ends: Annotated[
        int,
        option(*("Measures", "--ends"), metavar="N", help="the first and last N tokens of the text (default: 64)"),
    ] = 64


@dataclass(frozen=True)
class ConsoleOptions:
    """What is said."""

    json: Annotated[bool, _output("--json", help="one JSON document on stdout")] = False
    quiet: Annotated[bool, _output("--quiet", "-q", help="say nothing but errors")] = False
    verbose: Annotated[bool, _output("--verbose", "-v", help="say more on stderr")] = False
    debug: Annotated[bool, _output("--debug", help="show tracebacks and what libraries say")] = False


@dataclass(frozen=True)
class SavedRunOptions:
    """Maps that are already there."""

    from_: Annotated[
        str | None,
        _again("--from", metavar="RUN", help="a saved run, or maps from elsewhere: .npz, .npy, .safetensors"),
    ] = None
    labels: Annotated[
        str | None, _again("--labels", metavar="FILE", help="tokens of such maps, one a line or a .json list")
    ] = None
    key_labels: Annotated[
        str | None, _again("--key-labels", metavar="FILE", help="the same for keys, where they differ from queries")
    ] = None
    array: Annotated[str | None, _again("--array", metavar="NAME", help="which array, where a file has several")] = None


def typed(*groups: Any) -> dict[str, Any]:
    """The options that are not as they are by default, under the names that are typed."""
    return {name.rstrip("_").replace("_", "-"): value for group in groups for name, value in changed(group).items()}


def changed(group: Any) -> dict[str, Any]:
    """The fields of a group that are not as they are by default."""
    default = type(group)()
    values = {each.name: getattr(group, each.name) for each in fields(group) if each.compare}
    return {name: value for name, value in values.items() if value != getattr(default, name)}


def flat(command: Callable[..., None]) -> Callable[..., None]:
    """The same command with the fields of its groups as parameters, as Typer needs it."""
    hints = get_type_hints(command, include_extras=True)
    names = list(inspect.signature(command).parameters)
    groups = {name: hints[name] for name in names if is_dataclass(hints[name])}
    options: dict[str, inspect.Parameter] = {}
    for name, parameter in inspect.signature(command).parameters.items():
        if name in groups:
            options |= _fields(groups[name])
        else:
            options[name] = parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)

    def called(**values: Any) -> None:
        made = {
            name: group(**{each.name: values.pop(each.name) for each in fields(group)})
            for name, group in groups.items()
        }
        command(**made, **values)

    # Typer breaks lines where the source does; the terminal knows better
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    called.__doc__ = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    called.__name__ = command.__name__
    called.__annotations__ = {name: option.annotation for name, option in options.items()}
    called.__signature__ = inspect.Signature(list(options.values()))  # type: ignore[attr-defined]
    return called


def _fields(group: Any) -> dict[str, inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return {
        each.name: inspect.Parameter(
            each.name, inspect.Parameter.KEYWORD_ONLY, default=each.default, annotation=hints[each.name]
        )
        for each in fields(group)
    }
