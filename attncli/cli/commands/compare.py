"""`attncli compare`: what differs between two models, two texts or two saved runs, head by head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attncli.cli.against import compared_texts
from attncli.cli.run_study import CommonOptions, load_arguments, run_study, split_heads
from attncli.corpus_options import CORPUS_DEFAULTS, CorpusOptions
from attncli.edit_options import EditedModelOptions, edit_lines, other_edit_lines, takes_mean
from attncli.errors import UsageError
from attncli.options import (
    ConsoleOptions,
    InputOptions,
    OutputOptions,
    PictureOptions,
    SelectionOptions,
    typed,
)
from attncli.paths import what_is_at
from attncli.saved_options import SavedRunOptions
from attncli.studies.compare.options import CompareOptions
from attncli.studies.compare.study import CompareStudy
from attncli.vocabulary import CORPUS_TEXTS, DEFAULT_MODEL

if TYPE_CHECKING:
    from attncli.data import Text
    from attncli.engine.collected import Collected

_MOST_VIEWS = 20
"""Most texts of each corpus that get a page: as many as are listed."""


def compare(
    model: EditedModelOptions,
    texts: InputOptions,
    selection: SelectionOptions,
    output: OutputOptions,
    console: ConsoleOptions,
    options: CompareOptions,
    pictures: PictureOptions,
    a: Annotated[str | None, typer.Argument(metavar="A", help=f"model or saved run (default: {DEFAULT_MODEL})")] = None,
    b: Annotated[str | None, typer.Argument(metavar="B", help="another one (default: the same as A)")] = None,
    corpus: CorpusOptions = CORPUS_DEFAULTS,
) -> None:
    """Compare two models, two texts or two saved runs, head by head.

    Two models read the same texts: base and fine-tuned or with an adapter, two checkpoints (--revision-b), two
    precisions (--dtype-b), one with edited attention (--edit-b "zero 1.3"). One model reads two texts, --text and
    --against-text, or two corpora, --file and --against-file. Or two runs that were saved with --save-maps.
    A may be a pattern of checkpoints.

    For each head: js_distance, the distance of its map in B to its map in A, and the distance of the nearest other
    head of its layer in A; and the change of each measure. With 6 texts or more there are bootstrap intervals, and
    p-values of a sign-flip test, adjusted over heads after Benjamini and Hochberg. The largest changes come first.

    More than 1,000 texts, and two corpora, are read in shards as in stats. The largest text_effect, the change divided
    by the standard deviation over texts, then comes first: of thousands of texts, the smallest change is significant.
    compare-texts.csv lists the texts that differ most, with the command that shows each; --views N writes their pages.

    For each head of two models also: how much W_Q, W_K, W_V and W_O differ. --by norm compares what heads write
    instead of where they attend: a changed output projection shows in its own head.

    Writes compare.json, compare.csv (heads), compare-measures.csv, of two models compare-weights.csv (their matrices),
    and a picture of the differences. In a pipe, prints compare.csv; with --json compare.json.
    Needs SciPy: pip install "attncli[analyses]".

    Example: attncli compare demo:encoder --dtype-b bfloat16 -t One -t Two -t Three -t Four -t Five -t "And six."
    """
    _check_options(a, model, texts, output)
    name_a = a or model.model or DEFAULT_MODEL
    study = CompareStudy(options, names={"a": name_a, **({} if b is None else {"b": b})})
    if _is_saved(name_a) != _is_saved(name_a if b is None else b):
        raise UsageError("expected two models or two saved runs, got one of each: run the model with --save-maps first")
    if _is_saved(name_a):
        common = CommonOptions(
            model, texts, selection, output, console, SavedRunOptions(from_=name_a, axes=options.axes)
        )
        run_study(replace(study, other=_saved_other(name_a, b, common, options)), common, pictures)
        return
    _check_models_differ(b, options)
    common = CommonOptions(replace(model, model=name_a), texts, selection, output, console)
    read, many = compared_texts(texts, options, study, console, _needs_texts(selection))
    _check_views(options.views, many is not None)
    study = _with_other_model(study, common, b, read, options)
    of_b = isinstance(study.other, Mapping) and "mean_texts" in study.other
    if of_b and not takes_mean(edit_lines(model)):  # the texts are those of B alone
        common = replace(common, model=replace(common.model, mean_file=None))
    if many is not None:
        study = replace(study, two_corpora=bool(many.sides))
    run_study(study, common, pictures, read if many is None else many, corpus=corpus)


def _check_options(a: str | None, model: EditedModelOptions, texts: InputOptions, output: OutputOptions) -> None:
    """Raise UsageError if A is named twice, or for options that go with other commands."""
    if a is not None and model.model is not None:
        raise UsageError(f"A is {a} and --model is {model.model}: give one of them")
    if texts.generate:
        raise UsageError("--generate: each side would generate its own text; generate one first, give it with --text")
    if output.save_maps:
        raise UsageError("--save-maps: compare keeps no maps; save them with attncli heatmap --save-maps")


def _check_views(views: int, of_corpus: bool) -> None:
    """Raise UsageError for a wrong number of pages, or if texts are no corpus: then no pages are written."""
    if not 0 <= views <= _MOST_VIEWS:
        raise UsageError(f"expected --views from 0 to {_MOST_VIEWS}, got {views}")
    if views and not of_corpus:
        raise UsageError(
            "--views shows texts of a corpus: give --against-file, or a --file of more than "
            f"{CORPUS_TEXTS:,} texts; attncli view shows a single text"
        )


def _needs_texts(selection: SelectionOptions) -> str:
    """Return the option that needs all texts at once, "" if none is given."""
    return "--aggregate-layers mean" if selection.aggregate_layers != "none" else ""


def _check_models_differ(b: str | None, options: CompareOptions) -> None:
    """Raise UsageError if no option says in what the model B or its text differs from A; None as B is that of A."""
    if options.axes is not None:
        raise UsageError("--axes names the axes of files of maps, A and B are models: leave it out")
    others = ("dtype_b", "revision_b", "against_text", "against_file", "against_dataset", "against_split", "edit_b")
    if b is None and not any(getattr(options, name) for name in others):
        raise UsageError(
            "there is nothing to compare with: give B, --dtype-b, --revision-b, --edit-b or "
            "texts of its own (--against-text, --against-file)"
        )


def _with_other_model(
    study: CompareStudy, common: CommonOptions, b: str | None, read: Sequence[Text], options: CompareOptions
) -> CompareStudy:
    """Return the study with the model B and the texts that it reads.

    b     B as it was typed; None for the model of A
    read  the texts of A
    """
    model = common.model
    _, model_head = split_heads(common.selection.head, model.model_head)
    # a revision of A is not one of another model
    revision = options.revision_b if options.revision_b is not None or b is not None else model.revision
    second = replace(model, model=b or model.model, dtype=options.dtype_b or model.dtype, revision=revision)
    lines = other_edit_lines(options.edit_b) if options.edit_b else edit_lines(second)
    second = second if takes_mean(lines) else replace(second, mean_file=None)
    other = load_arguments(second, model_head, edits=lines)
    return replace(study, other=other, texts=_other_texts(tuple(read), common.texts, options))


def _saved_other(a: str, b: str | None, common: CommonOptions, options: CompareOptions) -> Collected:
    """Open the saved run B; raise UsageError if there is none, or if a model or a text is given too."""
    from attncli.engine.collected import Collected

    if b is None:
        raise UsageError(f"{a} is a saved run, and there is nothing to compare it with: give another one after it")
    others = {name: value for name, value in typed(options).items() if name not in ("metric", "axes")}
    if extra := typed(common.model, common.texts) | others:
        raise UsageError(f"two saved runs need no model and no text: leave out --{next(iter(extra))}")
    return Collected.open_saved(b, axes=options.axes, max_memory=common.output.max_memory)


def _other_texts(read: Sequence[Text], texts: InputOptions, options: CompareOptions) -> Sequence[Text]:
    """Return the texts that B reads."""
    from attncli.inputs.texts import parse_texts

    if options.against_text is None or not read:
        return read
    if extra := typed(texts).keys() & {"pair", "target", "file", "text-file", "chat"}:
        raise UsageError(f"--against-text goes with --text alone: leave out --{min(extra)}")
    if len(options.against_text) != len(read):
        raise UsageError(
            f"{len(read)} --text and {len(options.against_text)} --against-text: give one of these for each of those"
        )
    return tuple(parse_texts(options.against_text))


def _is_saved(name: str) -> bool:
    """Return whether this is a saved run or a file of maps, not a model."""
    return what_is_at(name) == "file" or what_is_at(Path(name, "manifest.json")) == "file"
