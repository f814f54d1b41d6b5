"""The options of the command line: what an option is, and the groups that all commands share.

A field of a group is one option: `Annotated[type, Option(...)]`. The command line, the files of `attncli run` and
`attncli check`, and the Python API all read these groups; studies define their own groups in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Annotated, Any

from attncli import vocabulary


class Option:
    """The name, help and completion of one option.

    panel    heading of the help under which it is listed
    names    `--layer`, `-l`; if there is no long name, that of the field is added
    metavar  placeholder of the value in the help; the choices if none is given
    choices  allowed values, completed by the shell
    complete function that returns values for the shell, if they are not known in advance
    """

    def __init__(
        self,
        panel: str,
        *names: str,
        help: str,
        metavar: str | None = None,
        choices: Sequence[str] = (),
        complete: Callable[[], Sequence[str]] | None = None,
    ) -> None:
        self.panel, self.names, self.help, self.choices = panel, names, help, tuple(choices)
        self.metavar = metavar or "|".join(choices) or None
        self.complete = complete

    def all_names(self, field: str) -> tuple[str, ...]:
        """Return the long name and further names of the option of a field."""
        has_long_name = any(name.startswith("--") for name in self.names)
        return self.names if has_long_name else (f"--{key(field)}", *self.names)

    def values(self) -> list[str]:
        """Return the values that the shell completes; empty if any value is possible."""
        return list(self.complete()) if self.complete else list(self.choices)


def key(name: str) -> str:
    """Return the name of an option on the command line, without the leading dashes.

    >>> key("max_tokens"), key("from_")
    ('max-tokens', 'from')
    """
    return name.rstrip("_").replace("_", "-")


def typed(*groups: Any) -> dict[str, Any]:
    """Return the options that differ from their defaults, by their names on the command line."""
    return {key(name): value for group in groups for name, value in changed(group).items()}


def changed(group: Any) -> dict[str, Any]:
    """Return the fields of a group that differ from their defaults."""
    default = type(group)()
    values = {option.name: getattr(group, option.name) for option in fields(group) if option.compare}
    return {name: value for name, value in values.items() if value != getattr(default, name)}


@dataclass(frozen=True)
class ModelOptions:
    """Options of the model and how it is loaded."""

    model: Annotated[
        str | None,
        Option(
            "Model",
            "-m",
            metavar="ID_OR_DIR",
            help=f"Hub id, folder, or demo:encoder, demo:decoder, demo:seq2seq (default: {vocabulary.DEFAULT_MODEL})",
        ),
    ] = None
    revision: Annotated[str | None, Option("Model", metavar="NAME", help="branch, tag or commit on the Hub")] = None
    tokenizer: Annotated[
        str | None, Option("Model", metavar="ID_OR_DIR", help="another tokenizer than the model's own")
    ] = None
    target_tokenizer: Annotated[
        str | None, Option("Model", metavar="ID_OR_DIR", help="tokenizer of the decoder, if its vocabulary differs")
    ] = None
    model_head: Annotated[
        str,
        Option(
            "Model",
            choices=vocabulary.MODEL_HEADS,
            metavar="NAME",
            help=f"head that the model is loaded with: {', '.join(vocabulary.MODEL_HEADS)} (default: auto)",
        ),
    ] = "auto"
    device: Annotated[
        str, Option("Model", metavar="auto|cpu|cuda|cuda:N|mps", help="device that the model runs on (default: auto)")
    ] = "auto"
    dtype: Annotated[
        str, Option("Model", choices=vocabulary.DTYPES, help="precision of the weights (default: as the checkpoint)")
    ] = "auto"
    trust_remote_code: Annotated[bool, Option("Model", help="run Python code that comes with the model")] = False
    capture: Annotated[
        str, Option("Model", choices=vocabulary.CAPTURES, help="how attention is captured (default: auto)")
    ] = "auto"


@dataclass(frozen=True)
class InputOptions:
    """Options of the texts."""

    text: Annotated[list[str] | None, Option("Input", "-t", metavar="TEXT", help="text to read; may be repeated")] = (
        None
    )
    pair: Annotated[str | None, Option("Input", metavar="TEXT", help="second segment of the text")] = None
    target: Annotated[
        str | None,
        Option(
            "Input", metavar="TEXT", help="text that the decoder reads; without it the model generates one and says so"
        ),
    ] = None
    file: Annotated[
        str | None, Option("Input", "-f", metavar="PATH", help="one text a line, or .jsonl, .csv, .parquet; - is stdin")
    ] = None
    column: Annotated[str | None, Option("Input", metavar="NAME", help="column with the texts (default: text)")] = None
    chat: Annotated[
        str | None, Option("Input", metavar="FILE", help="JSON file of messages for the model's chat template")
    ] = None
    generate: Annotated[int, Option("Input", metavar="N", help="append N greedy tokens, then read the whole text")] = 0
    max_tokens: Annotated[int | None, Option("Input", metavar="N", help="cut longer texts")] = None
    batch_tokens: Annotated[
        int, Option("Input", metavar="N", help="most tokens in one forward pass; texts of the same length share one")
    ] = vocabulary.BATCH_TOKENS


@dataclass(frozen=True)
class SelectionOptions:
    """Options that select attention and say how it is read."""

    kind: Annotated[
        list[str] | None,
        Option(
            "Selection",
            choices=vocabulary.KINDS,
            help="kind of attention; may be repeated (default: all that the model has)",
        ),
    ] = None
    layer: Annotated[
        str | None, Option("Selection", "-l", metavar="LAYERS", help="layers: all, 3, -1 or 0,2,5-7, counted from 0")
    ] = None
    head: Annotated[
        list[str] | None,
        Option(
            "Selection", "-H", metavar="HEADS", help="heads, like --layer; a name such as causal-lm means --model-head"
        ),
    ] = None
    aggregate: Annotated[
        str, Option("Selection", choices=vocabulary.AGGREGATES, help="combine heads into one map (default: none)")
    ] = "none"
    aggregate_layers: Annotated[
        str,
        Option("Selection", choices=vocabulary.LAYER_AGGREGATES, help="combine layers into one map (default: none)"),
    ] = "none"
    words: Annotated[
        bool,
        Option("Selection", help="merge pieces into words: sum over the pieces of a key, mean over those of a query"),
    ] = False
    special: Annotated[
        str,
        Option(
            "Selection",
            choices=vocabulary.SPECIALS,
            help="drop: remove special tokens from both axes and renormalise rows (default: keep)",
        ),
    ] = "keep"


@dataclass(frozen=True)
class FolderOptions:
    """Options of the output folder."""

    out: Annotated[
        str | None, Option("Output", "-o", metavar="DIR", help="folder (default: outputs/COMMAND/MODEL/DIGEST)")
    ] = None
    force: Annotated[
        bool, Option("Output", help="overwrite files of another run, or files that attncli did not write")
    ] = False
    max_memory: Annotated[
        str | None,
        Option("Output", metavar="SIZE", help="most memory for kept maps, such as 4GB (default: half of what is free)"),
    ] = None


@dataclass(frozen=True)
class OutputOptions(FolderOptions):
    """Options of the files that are written."""

    format: Annotated[
        list[str] | None,
        Option(
            "Output",
            metavar="NAMES",
            help="file formats, with commas. Pictures: png, svg, pdf; pages: html; tables: json, csv, parquet, jsonl",
        ),
    ] = None
    save_maps: Annotated[bool, Option("Output", help="save the selected maps too, for --from")] = False
    maps_format: Annotated[str, Option("Output", choices=vocabulary.MAPS_FORMATS, help="format of saved maps")] = (
        "safetensors"
    )
    layout: Annotated[
        str, Option("Output", metavar="AXES", help=f"order of axes in saved maps: {' or '.join(vocabulary.LAYOUTS)}")
    ] = vocabulary.LAYOUTS[0]


@dataclass(frozen=True)
class ConsoleOptions:
    """Options of what is printed."""

    json: Annotated[bool, Option("Output", help="print one JSON document on stdout")] = False
    quiet: Annotated[bool, Option("Output", "-q", help="print errors only")] = False
    verbose: Annotated[bool, Option("Output", "-v", help="print more on stderr")] = False
    debug: Annotated[bool, Option("Output", help="print tracebacks and the messages of libraries")] = False


@dataclass(frozen=True)
class SavedRunOptions:
    """Options of a saved run that is used instead of a model and a text."""

    from_: Annotated[
        str | None,
        Option("Saved run", metavar="DIR_OR_FILE", help="saved run, or maps of other tools: .npz, .npy, .safetensors"),
    ] = None
    labels: Annotated[
        str | None, Option("Saved run", metavar="FILE", help="token names of such maps, one a line or a .json list")
    ] = None
    key_labels: Annotated[
        str | None,
        Option("Saved run", metavar="FILE", help="token names of keys, if they differ from those of queries"),
    ] = None
    array: Annotated[str | None, Option("Saved run", metavar="NAME", help="array to read, if a file has several")] = (
        None
    )


@dataclass(frozen=True)
class NormOptions:
    """Option of commands that measure attention weights or value-weighted norms."""

    by: Annotated[
        str,
        Option(
            "Weights or norms",
            choices=vocabulary.BYS,
            help="weight: attention weights; norm: value-weighted norms ‖A f(x)‖, see attncli explain "
            "value-weighted-norms (default: weight)",
        ),
    ] = "weight"
