"""From option groups to a study that runs: texts are read, options are checked, reports are written and printed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from attncli.cli.console import CommandConsole, command_console, each_note_once
from attncli.cli.edit_arguments import edit_arguments
from attncli.cli.large_corpus import shared_texts, texts_or_corpus
from attncli.cli.own_module import module_run
from attncli.cli.pictures import style_of
from attncli.cli.study_files import StudyFiles
from attncli.corpus_options import CORPUS_DEFAULTS, CorpusOptions
from attncli.edit_options import EditedModelOptions, edit_lines
from attncli.engine.checks import check_choice
from attncli.engine.report import Formats
from attncli.engine.study import ResultT, Study
from attncli.errors import UsageError, did_you_mean
from attncli.module_options import ModuleOptions
from attncli.options import (
    ConsoleOptions,
    InputOptions,
    ModelOptions,
    OutputOptions,
    PictureOptions,
    SelectionOptions,
    StudyOptions,
    typed,
)
from attncli.saved_options import SavedRunOptions
from attncli.vocabulary import DEFAULT_MODEL, LAYOUTS, MAPS_FORMATS, MODEL_HEADS

if TYPE_CHECKING:
    from attncli.data import Text
    from attncli.engine.collected import Collected
    from attncli.engine.invocation import Invocation
    from attncli.engine.progress import Track
    from attncli.engine.publish import Published
    from attncli.engine.request import Request, RunOptions
    from attncli.inputs.corpus import Corpus


@dataclass(frozen=True)
class CommonOptions:
    """The option groups that all studies share.

    given   the options that were typed, if a file sets some of the options too
    shared  a `SharedPass` over the texts, if several steps share one
    """

    model: EditedModelOptions
    texts: InputOptions
    selection: SelectionOptions
    output: OutputOptions
    console: ConsoleOptions = field(default_factory=ConsoleOptions)
    saved: SavedRunOptions = field(default_factory=SavedRunOptions)
    own: ModuleOptions = field(default_factory=ModuleOptions)
    given: Mapping[str, Any] | None = None
    shared: Any = None


def run_study(
    study: Study[Any],
    common: CommonOptions,
    pictures: PictureOptions | None = None,
    texts: Sequence[Text] | Corpus | None = None,
    afterwards: Callable[[Published, CommandConsole], None] | None = None,
    corpus: CorpusOptions = CORPUS_DEFAULTS,
) -> None:
    """Run a study on what the options say, or on each checkpoint if --model is a pattern; see `run_once`."""
    # imported here: the help of the command line needs no NumPy
    from attncli.engine.checkpoints import find_checkpoints, is_pattern

    pattern = common.model.model
    if common.shared is not None or pattern is None or not is_pattern(pattern):
        run_once(study, common, pictures, texts, afterwards, corpus)
        return
    # imported here: it loads models
    from attncli.cli.run_series import run_series
    from attncli.engine.series import CheckpointSeries

    checkpoints = find_checkpoints(pattern)
    with command_console(common.console) as console, each_note_once():
        study, invocation, files = _prepared(study, common, pictures, texts, corpus, console)
        study.check(invocation.request)
        anew = common.output.force or not corpus.resume
        run_series(CheckpointSeries(study, invocation, checkpoints), files, anew, afterwards)


def run_once(
    study: Study[ResultT],
    common: CommonOptions,
    pictures: PictureOptions | None = None,
    texts: Sequence[Text] | Corpus | None = None,
    afterwards: Callable[[Published, CommandConsole], None] | None = None,
    corpus: CorpusOptions = CORPUS_DEFAULTS,
) -> ResultT:
    """Run a study once, write its report, and print what was asked for; return its result.

    pictures    how pictures look, if the command has options for that
    texts       the texts, if they have been read already, or a corpus that is read in shards
    afterwards  called when everything is written and printed
    corpus      how a corpus is read, if the command can
    """
    with command_console(common.console) as console:
        study, invocation, files = _prepared(study, common, pictures, texts, corpus, console)
        done = files.write(study, invocation, console.track)
        files.show(study, done)
        if afterwards is not None:
            afterwards(done.published, console)
    return done.result


def _prepared(
    study: Study[ResultT],
    common: CommonOptions,
    pictures: PictureOptions | None,
    texts: Sequence[Text] | Corpus | None,
    corpus: CorpusOptions,
    console: CommandConsole,
) -> tuple[Study[ResultT], Invocation, StudyFiles]:
    """Return the study for the selection, its invocation, and how its files are written."""
    study = study.adapt(common.selection, common.saved.from_ is not None or common.own.module is not None)
    allowed, named = study.formats, common.output.format
    if not common.output.pictures:
        allowed = allowed.without_pictures(named)
    formats = allowed.choose(named)
    pictures = pictures or PictureOptions()
    style = style_of(pictures) if allowed.draws else None
    invocation = invocation_of(study, common, formats, console.track, texts if study.reads else (), corpus)
    if invocation.corpus is not None and study.formats_of_corpus is not None:
        allowed = study.formats_of_corpus
        _check_formats_of_corpus(study, allowed, named)
    if allowed.draws < study.formats.draws:
        invocation = replace(invocation, options={**invocation.options, "pictures": False})
    if style is not None:
        options = {**invocation.options, "pictures": style.chosen}
        invocation = replace(invocation, options=options, typed={**invocation.typed, **typed(pictures)})
    return study, invocation, StudyFiles(console, formats, allowed, style, common.output.csv_safe)


def invocation_of(
    study: Study[Any],
    common: CommonOptions,
    formats: tuple[str, ...],
    track: Track,
    texts: Sequence[Text] | Corpus | None = None,
    corpus_options: CorpusOptions = CORPUS_DEFAULTS,
) -> Invocation:
    """Return the invocation of a study, checked as far as that is possible without a model.

    formats  file formats that are written
    track    shows how far a corpus is read
    texts    the texts if they need not be read, or a corpus; empty for a study that reads none
    Raise UsageError if options exclude each other or a text is wrong.
    """
    from attncli.engine.compiling import EDITED, with_compile
    from attncli.engine.corpus import needs_texts
    from attncli.engine.invocation import Invocation
    from attncli.inputs.corpus import Corpus

    model, output, saved, shared = common.model, common.output, common.saved, common.shared
    resolved = study.resolved_with_formats(formats)
    _, model_head = split_heads(common.selection.head, model.model_head)
    request = request_of(common, study.run_options())
    check_choice(vars(output), "maps_format", MAPS_FORMATS)
    check_choice(vars(output), "layout", LAYOUTS)
    if not output.save_maps and typed(output).keys() & {"maps-format", "layout"}:
        raise UsageError("--maps-format and --layout say how --save-maps writes, which is not given")
    groups = model, common.own, common.texts, common.selection, output, saved
    given = typed(*groups) if common.given is None else common.given
    more: dict[str, Any] = {"output": output, "options": resolved, "typed": {**given, **study.typed()}}
    if typed(common.own):
        study.check(request)
        run = module_run(common.own, saved, model, (common.texts,), request)
        return Invocation(study.command, run, request, **more)
    if saved.from_ is not None:
        return Invocation(study.command, _saved_run(common, saved.from_), request, **more)
    if extra := typed(saved):
        raise UsageError(f"--{next(iter(extra))} goes with --from, which is not given")
    predicts = isinstance(study.options, StudyOptions) and study.options.predicts_tokens
    reads_head = isinstance(study.options, StudyOptions) and study.options.reads_head
    source = load_arguments(model, model_head, common.texts.generate > 0 or predicts, reads_head)
    corpus = texts if isinstance(texts, Corpus) else None
    texts = () if isinstance(texts, Corpus) else texts
    if texts is None:
        needed = needs_texts(study, request, output.save_maps)
        if shared is None:
            texts, corpus = texts_or_corpus(common.texts, study, needed, track)
        else:
            texts, corpus = shared_texts(shared, common.texts, study, needed)
    elif shared is not None:
        # the pass that the steps of a file share has read other texts
        shared = replace(shared, run=None)
    more |= {"corpus": corpus, "corpus_options": corpus_options}
    edited = EDITED if source.get("edits") else ""
    request = with_compile(request, texts, model.device, edited, study.uncompiled)
    return Invocation(study.command, source, request, tuple(texts), shared=shared, **more)


def _saved_run(common: CommonOptions, folder: str) -> Collected:
    """Return the run of `--from`; raise UsageError if options of a model or a text are given too."""
    from attncli.engine.collected import Collected

    if extra := typed(common.model, common.texts):
        raise UsageError(f"--from takes the place of a model and a text: leave out --{next(iter(extra))}")
    kinds = split_names(common.selection.kind)
    kind: Any = kinds[0] if kinds and len(kinds) == 1 else None
    files = {name: getattr(common.saved, name) for name in ("labels", "key_labels", "array", "axes")}
    return Collected.open_saved(folder, **files, kind=kind, max_memory=common.output.max_memory)


def load_arguments(
    model: ModelOptions,
    model_head: str,
    predicts: bool = False,
    reads_head: bool = False,
    edits: tuple[str, ...] | None = None,
) -> dict[str, Any]:
    """Return the arguments of `load_runner`, with the edits if there are any.

    predicts    whether the model is to write or predict tokens: `auto` is then the language-model head, if there is one
    reads_head  whether `auto` is the head of the checkpoint, if it has one
    edits       lines of edits in the place of those of the options
    """
    head = model_head
    if head == "auto" and (predicts or reads_head):
        head = "auto-head" if reads_head else "auto-lm"
    values = {**vars(model), "name": DEFAULT_MODEL if model.model is None else model.model, "head": head}
    names = ("name", "revision", "tokenizer", "target_tokenizer", "head", "device", "dtype", "trust_remote_code")
    return {name: values[name] for name in names} | edit_arguments(model, edit_lines(model) if edits is None else edits)


def request_of(common: CommonOptions, run_options: RunOptions) -> Request:
    """Return the checked options of the forward pass."""
    from attncli.engine.request import Request
    from attncli.inputs.word_ids import read_word_ids

    selection = common.selection
    head, _ = split_heads(selection.head, common.model.model_head)
    options: dict[str, Any] = {
        **vars(selection),
        "kind": split_names(selection.kind),
        "head": head,
        "word_ids": None if selection.word_ids is None else read_word_ids(selection.word_ids),
        **{name: getattr(common.texts, name) for name in ("max_tokens", "generate", "add_bos", "batch_tokens")},
        "max_memory": common.output.max_memory,
        "capture": common.model.capture,
        "compile": common.model.compile,
    }
    return Request.of({**options, **run_options})  # type: ignore[typeddict-item]


def _check_formats_of_corpus(study: Study[Any], allowed: Formats, named: list[str] | None) -> None:
    """Raise UsageError if a format is named that shows one text, but a corpus is read."""
    for name in split_names(named) or ():
        if name not in allowed.allowed:
            raise UsageError(f"{study.command} writes only tables of several texts: leave out --format {name}")


def split_names(values: list[str] | None) -> list[str] | None:
    """Return names that were typed with commas or repeatedly as one list."""
    return None if values is None else [name.strip() for value in values for name in value.split(",")]


def split_heads(given: list[str] | None, model_head: str) -> tuple[str | None, str]:
    """Return the head numbers of `--head`, and the model head: a name there means `--model-head`."""
    numbers = []
    for value in given or []:
        if value in MODEL_HEADS:
            if model_head not in ("auto", value):
                raise UsageError(f"--head {value} and --model-head {model_head} contradict each other: give one")
            model_head = value
        elif value != "all" and any(character.isalpha() for character in value):
            raise UsageError(
                f"unknown --head '{value}': expected head numbers such as all, 3, -1 or 0,2,5-7, or a model head; "
                f"{did_you_mean(value, MODEL_HEADS)}"
            )
        else:
            numbers.append(value)
    if model_head not in MODEL_HEADS:
        raise UsageError(f"unknown --model-head '{model_head}': {did_you_mean(model_head, MODEL_HEADS)}")
    if "all" in numbers:
        return "all", model_head
    return ",".join(numbers) or None, model_head
