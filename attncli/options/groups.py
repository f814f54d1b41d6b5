"""The groups of options that all commands share; studies define their own groups in the same way.

A field of a group is one option: `Annotated[type, Option(...)]`. The command line, the files of `attncli run` and
`attncli check`, and the Python API all read these groups.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from attncli.options.option import Option
from attncli.vocabulary import (
    AGGREGATES,
    BATCH_TOKENS,
    BYS,
    CAPTURES,
    DEFAULT_MODEL,
    DTYPES,
    KINDS,
    LAYER_AGGREGATES,
    LAYOUTS,
    MAPS_FORMATS,
    MODEL_HEADS,
    SPECIALS,
)


@dataclass(frozen=True)
class ModelOptions:
    """Options of the model and how it is loaded."""

    model: Annotated[
        str | None,
        Option(
            "Model",
            *("--model", "-m"),
            metavar="ID_OR_DIR",
            help=f"Hub id, folder, or demo:encoder, demo:decoder, demo:seq2seq (default: {DEFAULT_MODEL})",
        ),
    ] = None
    revision: Annotated[
        str | None, Option("Model", "--revision", metavar="NAME", help="branch, tag or commit on the Hub")
    ] = None
    tokenizer: Annotated[
        str | None, Option("Model", "--tokenizer", metavar="ID_OR_DIR", help="another tokenizer than the model's own")
    ] = None
    target_tokenizer: Annotated[
        str | None,
        Option(
            "Model",
            "--target-tokenizer",
            metavar="ID_OR_DIR",
            help="tokenizer of the decoder, if its vocabulary differs",
        ),
    ] = None
    model_head: Annotated[
        str,
        Option(
            "Model",
            "--model-head",
            choices=MODEL_HEADS,
            metavar="NAME",
            help=f"head that the model is loaded with: {', '.join(MODEL_HEADS)} (default: auto)",
        ),
    ] = "auto"
    device: Annotated[
        str,
        Option(
            "Model",
            "--device",
            metavar="auto|cpu|cuda|cuda:N|mps",
            help="device that the model runs on (default: auto)",
        ),
    ] = "auto"
    dtype: Annotated[
        str,
        Option(
            "Model",
            "--dtype",
            choices=DTYPES,
            help="precision of the weights (default: as the checkpoint)",
        ),
    ] = "auto"
    trust_remote_code: Annotated[
        bool, Option("Model", "--trust-remote-code", help="run Python code that comes with the model")
    ] = False
    capture: Annotated[
        str, Option("Model", "--capture", choices=CAPTURES, help="how attention is captured (default: auto)")
    ] = "auto"


@dataclass(frozen=True)
class InputOptions:
    """Options of the texts."""

    text: Annotated[
        list[str] | None, Option("Input", "--text", "-t", metavar="TEXT", help="text to read; may be repeated")
    ] = None
    pair: Annotated[str | None, Option("Input", "--pair", metavar="TEXT", help="second segment of the text")] = None
    target: Annotated[
        str | None,
        Option(
            "Input",
            "--target",
            metavar="TEXT",
            help="text that the decoder reads; without it the model generates one and says so",
        ),
    ] = None
    file: Annotated[
        str | None,
        Option("Input", "--file", "-f", metavar="PATH", help="one text a line, or .jsonl, .csv, .parquet; - is stdin"),
    ] = None
    column: Annotated[
        str | None, Option("Input", "--column", metavar="NAME", help="column with the texts (default: text)")
    ] = None
    chat: Annotated[
        str | None,
        Option("Input", "--chat", metavar="FILE", help="JSON file of messages for the model's chat template"),
    ] = None
    generate: Annotated[
        int, Option("Input", "--generate", metavar="N", help="append N greedy tokens, then read the whole text")
    ] = 0
    max_tokens: Annotated[int | None, Option("Input", "--max-tokens", metavar="N", help="cut longer texts")] = None
    batch_tokens: Annotated[
        int,
        Option(
            "Input",
            "--batch-tokens",
            metavar="N",
            help="most tokens in one forward pass; texts of the same length share one",
        ),
    ] = BATCH_TOKENS


@dataclass(frozen=True)
class SelectionOptions:
    """Options that select attention and say how it is read."""

    kind: Annotated[
        list[str] | None,
        Option(
            "Selection",
            "--kind",
            choices=KINDS,
            help="kind of attention; may be repeated (default: all that the model has)",
        ),
    ] = None
    layer: Annotated[
        str | None,
        Option("Selection", "--layer", "-l", metavar="LAYERS", help="layers: all, 3, -1 or 0,2,5-7, counted from 0"),
    ] = None
    head: Annotated[
        list[str] | None,
        Option(
            "Selection",
            "--head",
            "-H",
            metavar="HEADS",
            help="heads, like --layer; a name such as causal-lm means --model-head",
        ),
    ] = None
    aggregate: Annotated[
        str, Option("Selection", "--aggregate", choices=AGGREGATES, help="combine heads into one map (default: none)")
    ] = "none"
    aggregate_layers: Annotated[
        str,
        Option(
            "Selection",
            "--aggregate-layers",
            choices=LAYER_AGGREGATES,
            help="combine layers into one map (default: none)",
        ),
    ] = "none"
    words: Annotated[
        bool,
        Option(
            "Selection",
            "--words",
            help="merge pieces into words: sum over the pieces of a key, mean over those of a query",
        ),
    ] = False
    special: Annotated[
        str,
        Option(
            "Selection",
            "--special",
            choices=SPECIALS,
            help="drop: remove special tokens from both axes and renormalise rows (default: keep)",
        ),
    ] = "keep"


@dataclass(frozen=True)
class FolderOptions:
    """Options of the output folder."""

    out: Annotated[
        str | None,
        Option("Output", "--out", "-o", metavar="DIR", help="folder (default: outputs/COMMAND/MODEL/DIGEST)"),
    ] = None
    force: Annotated[
        bool, Option("Output", "--force", help="overwrite files of another run, or files that attncli did not write")
    ] = False
    max_memory: Annotated[
        str | None,
        Option(
            "Output",
            "--max-memory",
            metavar="SIZE",
            help="most memory for kept maps, such as 4GB (default: half of what is free)",
        ),
    ] = None


@dataclass(frozen=True)
class OutputOptions(FolderOptions):
    """Options of the files that are written."""

    format: Annotated[
        list[str] | None,
        Option(
            "Output",
            "--format",
            metavar="NAMES",
            help="file formats, with commas. Pictures: png, svg, pdf; pages: html; tables: json, csv, parquet, jsonl",
        ),
    ] = None
    save_maps: Annotated[bool, Option("Output", "--save-maps", help="save the selected maps too, for --from")] = False
    maps_format: Annotated[
        str, Option("Output", "--maps-format", choices=MAPS_FORMATS, help="format of saved maps")
    ] = "safetensors"
    layout: Annotated[
        str, Option("Output", "--layout", metavar="AXES", help=f"order of axes in saved maps: {' or '.join(LAYOUTS)}")
    ] = LAYOUTS[0]


@dataclass(frozen=True)
class ConsoleOptions:
    """Options of what is printed."""

    json: Annotated[bool, Option("Output", "--json", help="print one JSON document on stdout")] = False
    quiet: Annotated[bool, Option("Output", "--quiet", "-q", help="print errors only")] = False
    verbose: Annotated[bool, Option("Output", "--verbose", "-v", help="print more on stderr")] = False
    debug: Annotated[bool, Option("Output", "--debug", help="print tracebacks and the messages of libraries")] = False


@dataclass(frozen=True)
class SavedRunOptions:
    """Options of a saved run that is used instead of a model and a text."""

    from_: Annotated[
        str | None,
        Option(
            "Saved run",
            "--from",
            metavar="DIR_OR_FILE",
            help="saved run, or maps of other tools: .npz, .npy, .safetensors",
        ),
    ] = None
    labels: Annotated[
        str | None,
        Option("Saved run", "--labels", metavar="FILE", help="token names of such maps, one a line or a .json list"),
    ] = None
    key_labels: Annotated[
        str | None,
        Option(
            "Saved run",
            "--key-labels",
            metavar="FILE",
            help="token names of keys, if they differ from those of queries",
        ),
    ] = None
    array: Annotated[
        str | None, Option("Saved run", "--array", metavar="NAME", help="array to read, if a file has several")
    ] = None


@dataclass(frozen=True)
class NormOptions:
    """Option of commands that measure attention weights or value-weighted norms."""

    by: Annotated[
        str,
        Option(
            *("Weights or norms", "--by"),
            choices=BYS,
            help="weight: attention weights; norm: value-weighted norms ‖A f(x)‖, see attncli explain "
            "value-weighted-norms (default: weight)",
        ),
    ] = "weight"
