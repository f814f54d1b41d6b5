"""The options of the command line: what an option is, and the groups that all commands share.

A field of a group is one option: `name: type = option("Panel", "help")`. Studies define groups in the same way.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from attncli import vocabulary


@dataclass(frozen=True)
class Option:
    """What the command line says of a field.

    panel    heading of the help under which it is listed
    names    `--layer`, `-l`; if there is no long name, that of the field is added
    former   earlier long names such as `--by`: accepted as before, but not shown
    metavar  placeholder of the value in the help; the choices if none is given
    choices  allowed values, completed by the shell
    file_value  a further value, which ends with the path of a file: `weights:FILE`
    complete function that returns values for the shell, if they are not known in advance
    yields   whether it is left out of a command whose own options have one of this name
    """

    panel: str
    help: str
    names: tuple[str, ...] = ()
    former: tuple[str, ...] = ()
    metavar: str | None = None
    choices: Sequence[str] = ()
    file_value: str = ""
    complete: Callable[[], Sequence[str]] | None = None
    yields: bool = False

    def all_names(self, field: str) -> tuple[str, ...]:
        """Return the long name and further names of the option of a field."""
        has_long_name = any(name.startswith("--") for name in self.names)
        return self.names if has_long_name else (f"--{key(field)}", *self.names)

    def values(self) -> list[str]:
        """Return the values that the shell completes; empty if any value is possible."""
        return list(self.complete()) if self.complete else list(self.choices)


def option(panel: str, help: str, *names: str, default: Any = None, **more: Any) -> Any:
    """Return a field of an option group; its help names the default. `more` are further fields of `Option`."""
    named = not default or default is True or "(default: " in help
    shown = help if named else f"{help} (default: {default})"
    return field(default=default, metadata={"option": Option(panel, shown, names, **more)})


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
    names = [option.name for option in fields(group) if option.compare]
    return {name: getattr(group, name) for name in names if getattr(group, name) != getattr(default, name)}


@dataclass(frozen=True)
class ModelOptions:
    """Options of the model and how it is loaded."""

    model: str | None = option(
        "Model",
        "Hub id, folder, GGUF file, demo:encoder, demo:decoder, demo:seq2seq or demo:classifier "
        f"(default: {vocabulary.DEFAULT_MODEL}); 'runs/*' in quotes: all checkpoints that match",
        "-m",
        metavar="ID_OR_DIR",
    )
    revision: str | None = option("Model", "branch, tag or commit on the Hub", metavar="NAME")
    tokenizer: str | None = option("Model", "another tokenizer than the model's own", metavar="ID_OR_DIR")
    target_tokenizer: str | None = option(
        "Model", "tokenizer of the decoder, if its vocabulary differs", metavar="ID_OR_DIR"
    )
    model_head: str = option(
        "Model",
        f"head that the model is loaded with: {', '.join(vocabulary.MODEL_HEADS)}",
        metavar="NAME",
        choices=vocabulary.MODEL_HEADS,
        default="auto",
    )
    device: str = option("Model", "device to run on: auto, cpu, cuda, cuda:N, mps", metavar="NAME", default="auto")
    dtype: str = option(
        "Model",
        f"precision of the weights: {', '.join(vocabulary.DTYPES)} (default: as the checkpoint)",
        metavar="NAME",
        choices=vocabulary.DTYPES,
        default="auto",
    )
    trust_remote_code: bool = option("Model", "run Python code that comes with the model", default=False)
    capture: str = option("Model", "how attention is captured", choices=vocabulary.CAPTURES, default="auto")
    compile: str = option("Model", "compile attention; auto: if long", choices=vocabulary.COMPILES, default="auto")


@dataclass(frozen=True)
class InputOptions:
    """Options of the texts."""

    text: list[str] | None = option("Input", "text to read; may be repeated", "-t", metavar="TEXT")
    pair: str | None = option("Input", "second segment of the text", metavar="TEXT")
    target: str | None = option(
        "Input", "text that the decoder reads; without it the model generates one and says so", metavar="TEXT"
    )
    file: str | None = option(
        "Input",
        "one text a line, or .jsonl, .csv, .parquet, also .gz or .zst; a folder or 'corpus/*.jsonl'; - is stdin",
        "-f",
        metavar="PATH",
    )
    dataset: str | None = option(
        "Input",
        "dataset of Hugging Face, such as stanfordnlp/imdb, NAME:CONFIG, or a saved one",
        metavar="NAME_OR_DIR",
    )
    split: str | None = option("Input", "split of the dataset, such as train or 'test[:1000]'", metavar="NAME")
    streaming: bool = option("Input", "read the dataset while it is downloaded, without a copy on disk", default=False)
    text_file: str | None = option("Input", "one text in several lines; - is stdin", metavar="PATH")
    column: str | None = option("Input", "column with the texts (default: text)", metavar="NAME")
    on_error: str = option(
        "Input",
        "record of a file or dataset that is no text: stop, or skip it and say so",
        choices=vocabulary.ON_ERRORS,
        default="stop",
    )
    chat: str | None = option("Input", "JSON file of messages for the model's chat template", metavar="FILE")
    generate: int = option("Input", "append N greedy tokens, then read the whole text", metavar="N", default=0)
    max_tokens: int | None = option("Input", "cut longer texts", metavar="N")
    add_bos: bool = option("Input", "begin texts with the start token where the tokenizer adds none", default=False)
    batch_tokens: int = option(
        "Input",
        "most tokens in one forward pass; texts of the same length share one",
        metavar="N",
        default=vocabulary.BATCH_TOKENS,
    )


@dataclass(frozen=True)
class SelectionOptions:
    """Options that select attention and say how it is read."""

    kind: list[str] | None = option(
        "Selection", "kind of attention; may be repeated (default: all that the model has)", choices=vocabulary.KINDS
    )
    layer: str | None = option("Selection", "layers: all, 3, -1 or 0,2,5-7, counted from 0", "-l", metavar="LAYERS")
    head: list[str] | None = option(
        "Selection", "heads, like --layer; a name such as causal-lm means --model-head", "-H", metavar="HEADS"
    )
    aggregate: str = option(
        "Selection",
        "combine heads into one map; weights:FILE: by their importance (attncli explain weighted-heads)",
        choices=vocabulary.AGGREGATES,
        file_value=vocabulary.WEIGHTS_FILE,
        default="none",
    )
    aggregate_layers: str = option(
        "Selection", "combine layers into one map", choices=vocabulary.LAYER_AGGREGATES, default="none"
    )
    words: bool = option(
        "Selection",
        "merge pieces into words (explain words): sum over pieces of a key, mean over those of a query",
        default=False,
    )
    word_ids: str | None = option(
        "Selection", "JSON file: your own words, as the word number of each token (implies --words)", metavar="FILE"
    )
    special: str = option(
        "Selection",
        "drop: remove special tokens from both axes and renormalise rows",
        choices=vocabulary.SPECIALS,
        default="keep",
    )


@dataclass(frozen=True)
class RowsOptions:
    """Option of commands that read the rows of chosen tokens."""

    rows_as: str | None = option(
        "Selection",
        "input: the rows of the tokens themselves; predicted: the rows before them, which predict them "
        "(default: predicted for generated and assistant, else input; see attncli explain rows-as)",
        choices=vocabulary.ROWS_AS,
    )


@dataclass(frozen=True)
class FolderOptions:
    """Options of the output folder."""

    out: str | None = option("Output", "folder (default: outputs/COMMAND/MODEL/DIGEST)", "-o", metavar="DIR")
    force: bool = option("Output", "overwrite files of another run, or files that attncli did not write", default=False)
    max_memory: str | None = option(
        "Output", "most memory for kept maps, such as 4GB (default: half of what is free)", metavar="SIZE"
    )
    csv_safe: bool = option(
        "Output", "write ' before CSV cells that a spreadsheet would run: they begin with = + - @", default=False
    )


@dataclass(frozen=True)
class OutputOptions(FolderOptions):
    """Options of the files that are written."""

    format: list[str] | None = option(
        "Output",
        "file formats, with commas. Pictures: png, svg, pdf; pages: html; tables: json, csv, parquet, jsonl",
        metavar="NAMES",
    )
    pictures: bool = option("Output", "write pictures beside the tables", "--pictures/--no-pictures", default=True)
    save_maps: bool = option("Output", "save the selected maps too, for --from", default=False)
    maps_format: str = option("Output", "format of saved maps", choices=vocabulary.MAPS_FORMATS, default="safetensors")
    layout: str = option(
        "Output",
        f"order of axes in saved maps: {' or '.join(vocabulary.LAYOUTS)}",
        metavar="AXES",
        default=vocabulary.LAYOUTS[0],
    )


@dataclass(frozen=True)
class PictureOptions:
    """Options of how pictures look, in every command that draws; see `attncli explain pictures`."""

    figsize: str | None = option(
        "Pictures", "size in inches, such as 6,4 (default: as the picture needs)", metavar="W,H"
    )
    dpi: int | None = option("Pictures", "pixels per inch of png (default: 150)", metavar="N")
    cmap: str | None = option(
        "Pictures",
        "colour map of matplotlib, such as magma (default: viridis); scales around a middle take only a diverging one",
        metavar="NAME",
    )
    title: str | None = option("Pictures", "title of the pictures; '' for none", metavar="TEXT")
    font: str | None = option(
        "Pictures", "installed font family, or serif, sans-serif, monospace (default: DejaVu Sans)", metavar="NAME"
    )


@dataclass(frozen=True)
class ConsoleOptions:
    """Options of what is printed."""

    json: bool = option("Output", "print one JSON document on stdout", default=False)
    quiet: bool = option("Output", "print errors only", "-q", default=False)
    verbose: bool = option(
        "Output", "print more: all tables on a terminal, and on stderr what is done", "-v", default=False
    )
    debug: bool = option("Output", "print tracebacks and the messages of libraries", default=False)


class StudyOptions:
    """Base class of options of a study that needs less or more than the texts: steps of `attncli run` share a pass."""

    @property
    def reads_texts(self) -> bool:
        """Whether the study reads the texts of the user."""
        return True

    @property
    def needs_vectors(self) -> bool:
        """Whether the study needs the query and key vectors of the forward pass."""
        return False

    @property
    def reads_head(self) -> bool:
        """Whether the study needs the output of the head of the checkpoint, if it has one."""
        return False

    @property
    def predicts_tokens(self) -> bool:
        """Whether the study uses the language-model head, if the model has one."""
        return False


@dataclass(frozen=True)
class NormOptions:
    """Option of commands that measure attention weights or value-weighted norms."""

    by: str = option(
        "Weights or norms",
        "weight: attention weights; norm: value-weighted norms ‖A f(x)‖, see attncli explain value-weighted-norms",
        choices=vocabulary.BYS,
        default="weight",
    )
