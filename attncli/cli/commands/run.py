"""`attncli run`: several commands on several models and texts, from one file."""

from __future__ import annotations

import contextlib
import io
import itertools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

from attncli.cli.command_table import all_commands
from attncli.cli.console import CommandConsole, command_console, each_note_once
from attncli.cli.large_corpus import print_corpus_notes, read_corpus
from attncli.cli.pictures import style_of
from attncli.cli.read_input import read_input
from attncli.cli.run_study import CommonOptions, load_arguments, request_of
from attncli.corpus_options import CorpusOptions
from attncli.edit_options import EditedModelOptions
from attncli.errors import AttnError, UsageError
from attncli.options import (
    ConsoleOptions,
    FolderOptions,
    InputOptions,
    OutputOptions,
    PictureOptions,
    SelectionOptions,
    changed,
)
from attncli.vocabulary import CORPUS_TEXTS

if TYPE_CHECKING:  # the help of the command line needs no torch
    from attncli.cli.config.plan import ConfigPlan, ConfigStep
    from attncli.data import RunInfo, Text
    from attncli.engine.progress import Track
    from attncli.engine.runner import Runner, SharedPass
    from attncli.inputs.corpus import Corpus
    from attncli.store import OutputFolder


def run(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="YAML file; - is stdin")],
    model: EditedModelOptions,
    texts: InputOptions,
    selection: SelectionOptions,
    pictures: PictureOptions,
    output: FolderOptions,
    console: ConsoleOptions,
    corpus: CorpusOptions,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="only list what would run", rich_help_panel="Output")
    ] = False,
) -> None:
    """Run several commands on several models and texts, from one YAML file.

    The keys of the file are the options of the command line: model, text, layer and so on; models and inputs for
    several of them; and steps, which are commands with options of their own. Each model is loaded once and reads each
    input once for all steps; of a corpus of more than 1,000 texts, each step reads the texts, in shards if it can. A
    step writes to OUT/MODEL/INPUT/STEP what its command alone would write; on a pattern of checkpoints (model:
    runs/checkpoint-*), it runs on each. Options of the command line override the file. All keys: attncli explain
    config; a JSON Schema for editors: attncli explain config --json.

    In a pipe, prints the path of each file; with --json the manifest.

    Example: attncli run configs/smoke.yaml
    """
    with command_console(console) as opened:
        # imported here: the help needs no pydantic and no NumPy
        from attncli.cli.config.plan import read_plan
        from attncli.store import OutputFolder, default_folder, digest

        plan = read_plan(config, model, texts, selection, pictures, output)
        plan_texts = {name: PlanTexts.read(options, opened.track) for name, options in plan.inputs.items()}
        arguments = _arguments(plan)
        resolved = _resolved(plan, plan_texts, arguments)
        name = digest(plan.name, None, "", resolved)
        path = plan.output.out or default_folder("run", plan.name, name)
        folder = OutputFolder(path, "run", name, plan.output.force)
        if dry_run:
            for model_name, input_name, step in itertools.product(plan.models, plan.inputs, plan.steps):
                opened.data(f"{step.command}\t{folder.path / model_name / input_name / step.name}")
    if not dry_run:
        with each_note_once():
            _PlanRun(plan, plan_texts, arguments, resolved, folder, console, corpus).run()


@dataclass(frozen=True, eq=False)
class PlanTexts:
    """The texts of one input of a plan.

    texts   all texts; empty for a large corpus, which each step reads by itself
    corpus  the corpus, if the texts come from files or a dataset
    """

    texts: tuple[Text, ...]
    corpus: Corpus | None = None

    @classmethod
    def read(cls, options: InputOptions, track: Track) -> PlanTexts:
        """Return the texts that the options name."""
        corpus = read_corpus(options, track)
        if corpus is not None and corpus.survey().texts > CORPUS_TEXTS:
            print_corpus_notes(corpus)
            return cls((), corpus)
        return cls(tuple(read_input(options, corpus)), corpus)

    @property
    def sha256(self) -> str:
        """The hash of the texts, or of the corpus that they are read from."""
        # imported here: the help needs no NumPy
        from attncli.store import input_sha256

        return input_sha256(self.texts) if self.texts or self.corpus is None else self.corpus.survey().digest


@dataclass(frozen=True)
class _PlanRun:
    """The steps of a plan, run one after another, with the texts of each input and the folder of the whole run.

    arguments  arguments of `load_runner` for each model
    corpus     how steps read a corpus
    """

    plan: ConfigPlan
    texts: Mapping[str, PlanTexts]
    arguments: Mapping[str, Mapping[str, Any]]
    resolved: Mapping[str, Any]
    folder: OutputFolder
    console_options: ConsoleOptions
    corpus: CorpusOptions

    def run(self) -> None:
        """Run each model on each input; an error names the step, and files that were written before it stay."""
        # imported here: the help needs no NumPy
        from attncli.engine.checkpoints import is_pattern

        infos: list[RunInfo] = []
        for model_name, model in self.plan.models.items():
            if is_pattern(model.model):
                infos += self._run_on_checkpoints(model_name, model)
                continue
            with command_console(self.console_options):
                # imported here: the help needs no torch, and the console keeps libraries quiet when they are imported
                from attncli.engine.runner import load_runner

                runner = load_runner(self.arguments[model_name])
            for input_name in self.plan.inputs:
                with command_console(self.console_options) as console, _errors_at(f"{model_name}/{input_name}"):
                    shared = self._share_pass(runner, model_name, input_name, console)
                    console.notes(shared.info.notes if shared.run is None else ())
                infos.append(shared.info)
                self.folder.claim()
                for step in self.plan.steps:
                    path = f"{model_name}/{input_name}/{step.name}"
                    with _errors_at(path):
                        self._run_step(step, model, input_name, path, shared)
        with command_console(self.console_options) as console:
            from attncli.engine.runner import merge_infos

            info = replace(merge_infos(infos), resolved=self.resolved, input_sha256=_all_sha256(self.texts.values()))
            self._print_result(console, self.folder.finish(info))

    def _run_on_checkpoints(self, model_name: str, model: EditedModelOptions) -> Iterator[RunInfo]:
        """Run each step on the checkpoints of a pattern, as its command alone would; yield where results come from."""
        from attncli.store.folder import read_manifest, run_info_from

        for options in self.plan.inputs.values():
            if "-" in (options.file, options.text_file):
                raise UsageError(
                    f"--model '{model.model}' is a pattern, whose models read the texts one after another, and stdin "
                    "can be read once: save the texts as a file first"
                )
        self.folder.claim()
        for input_name, step in itertools.product(self.plan.inputs, self.plan.steps):
            path = f"{model_name}/{input_name}/{step.name}"
            with _errors_at(path):
                self._run_step(step, model, input_name, path, None)
            yield run_info_from((read_manifest(self.folder.path / path) or {})["run"])

    def _share_pass(self, runner: Runner, model_name: str, input_name: str, console: CommandConsole) -> SharedPass:
        """Return one forward pass for all steps, with the heads that all of them select; none over a corpus."""
        from attncli.engine.runner import share_corpus, share_pass

        first, *others = (vars(step.selection) for step in self.plan.steps)
        names = ("kind", "layer", "head")
        in_common = {name: first[name] for name in names if all(other[name] == first[name] for other in others)}
        output = OutputOptions(max_memory=self.plan.output.max_memory)
        model, options = self.plan.models[model_name], self.plan.inputs[input_name]
        common = CommonOptions(model, options, SelectionOptions(**in_common), output)
        request = request_of(common, {"neurons": any(step.needs_vectors for step in self.plan.steps)})
        read = self.texts[input_name]
        if read.corpus is not None and not read.texts:
            shared = share_corpus(runner, read.corpus, request)
        else:
            shared = share_pass(runner, read.texts, request, console.track)
        return replace(shared, corpus=read.corpus, arguments=self.arguments[model_name])

    def _run_step(
        self, step: ConfigStep, model: EditedModelOptions, input_name: str, path: str, shared: SharedPass | None
    ) -> None:
        """Run a command as from the command line, without what it prints on stdout.

        shared  the model and its pass over the texts; None if the command loads its models and reads texts itself
        """
        folder = replace(self.plan.output, out=str(self.folder.path / path))
        common = CommonOptions(
            model,
            self.plan.inputs[input_name] if step.reads_texts else InputOptions(),
            step.selection,
            replace(step.output, **vars(folder)),
            replace(self.console_options, json=False),
            shared=shared,
        )
        command = all_commands()[step.command]
        more = {name: self.corpus for name, kind in get_type_hints(command).items() if kind is CorpusOptions}
        with contextlib.redirect_stdout(io.StringIO()):
            command(common, *step.study_options, **more)
        self.folder.add_subfolder(path)

    def _print_result(self, console: CommandConsole, manifest: Mapping[str, Any]) -> None:
        from attncli.store import json_text

        if console.options.json:
            console.data(json_text(manifest))
        for path in self.folder.written:
            if console.to_person:
                console.wrote(path)
            elif not console.options.json:
                console.data(str(path))


def _arguments(plan: ConfigPlan) -> dict[str, dict[str, Any]]:
    """Return the arguments of `load_runner` for each model."""
    predicts = any(texts.generate > 0 for texts in plan.inputs.values()) or any(
        step.predicts_tokens for step in plan.steps
    )
    reads_head = any(step.reads_head for step in plan.steps)
    return {name: load_arguments(model, model.model_head, predicts, reads_head) for name, model in plan.models.items()}


def _all_sha256(inputs: Collection[PlanTexts]) -> str:
    """Return the hash of all texts; of the hashes of all inputs if one of them is a corpus that is not in memory."""
    from attncli.store import input_sha256

    texts = [text for one in inputs for text in one.texts]
    in_memory = all(one.texts for one in inputs)
    return input_sha256(texts) if in_memory else sha256(" ".join(one.sha256 for one in inputs).encode()).hexdigest()


def _resolved(
    plan: ConfigPlan, texts: Mapping[str, PlanTexts], arguments: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return everything that changes the result, as plain values."""
    from attncli.engine.invocation import plain_arguments

    return {
        "models": {name: plain_arguments(of_model) for name, of_model in arguments.items()},
        "inputs": {name: [texts[name].sha256, changed(options)] for name, options in plan.inputs.items()},
        "steps": [[step.name, step.command, step.options | _looks(step)] for step in plan.steps],
    }


def _looks(step: ConfigStep) -> dict[str, Any]:
    """Return how the pictures of a step look, if that was chosen; raise UsageError if the choice is wrong."""
    with _errors_at(step.name):
        style = None if step.pictures is None else style_of(step.pictures)
    return {} if style is None else {"pictures": style.chosen}


@contextlib.contextmanager
def _errors_at(path: str) -> Iterator[None]:
    """Prefix errors with the step that they come from."""
    try:
        yield
    except AttnError as error:
        raise type(error)(f"at {path}: {error}") from error
