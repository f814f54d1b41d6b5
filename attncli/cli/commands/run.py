"""`attncli run`: what a file says, step by step."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attncli import registry
from attncli.cli import inputs as _inputs
from attncli.cli.console import CommandConsole, command_console, say_notes_once
from attncli.cli.invocations import SharedModel, head_for, load_arguments, request_of, split_heads
from attncli.errors import AttnError
from attncli.options import (
    ConsoleOptions,
    FolderOptions,
    InputOptions,
    ModelOptions,
    OutputOptions,
    SavedRunOptions,
    SelectionOptions,
    changed,
)

if TYPE_CHECKING:
    from pathlib import Path

    from attncli.cli.config.plan import ConfigPlan, ConfigStep
    from attncli.data import RunInfo, Text
    from attncli.engine.invocation import SharedPass
    from attncli.engine.runner import Runner
    from attncli.store import OutputFolder


def run(
    config: Annotated[str, typer.Argument(metavar="CONFIG", help="a YAML file; - is stdin")],
    model: ModelOptions,
    texts: InputOptions,
    selection: SelectionOptions,
    place: FolderOptions,
    talk: ConsoleOptions,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="only say what would be done", rich_help_panel="Output")
    ] = False,
) -> None:
    """Do what a file says: several commands on several models and texts.

    The keys of the file are the options of the command line: model, text, layer and so on; models and inputs for
    several of them; and steps, commands with options of their own. Each model is loaded once and reads each input once
    for all steps. A step writes to OUT/MODEL/INPUT/STEP what its command alone would write. What is typed beside the
    file goes before it. All keys: attncli explain config; a JSON Schema for editors: attncli explain config --json.

    In a pipe, prints the path of each file; with --json the manifest.

    Example: attncli run configs/smoke.yaml
    """
    from attncli.cli.config.plan import read_plan

    with command_console(talk) as say:
        plan = read_plan(config, model, texts, selection, place)
        read = {name: tuple(_inputs.read(options)) for name, options in plan.inputs.items()}
        resolved = _resolved(plan, read)
        folder = _folder(plan, resolved)
        if dry_run:
            _foretell(say, plan, folder)
    if not dry_run:
        with say_notes_once():
            _Work(plan, read, resolved, folder, talk).do()


def _resolved(plan: ConfigPlan, read: Mapping[str, Sequence[Text]]) -> dict[str, Any]:
    """Everything that changes the result, as plain values."""
    from attncli.store import input_sha256

    return {
        "models": {name: load_arguments(options, _head(plan, options)) for name, options in plan.models.items()},
        "inputs": {name: [input_sha256(read[name]), changed(options)] for name, options in plan.inputs.items()},
        "steps": [
            [step.name, step.command, {name: asdict(group) for name, group in step.groups.items()}]
            for step in plan.steps
        ],
    }


def _folder(plan: ConfigPlan, resolved: Mapping[str, Any]) -> OutputFolder:
    from attncli.store import OutputFolder, default_folder, digest

    name = digest(plan.name, None, "", resolved)
    return OutputFolder(plan.place.out or default_folder("run", plan.name, name), "run", name, plan.place.force)


def _head(plan: ConfigPlan, options: ModelOptions) -> str:
    """With which head a model is loaded that is to read all inputs."""
    writes = next((texts for texts in plan.inputs.values() if texts.generate), InputOptions())
    return head_for(options.model_head, writes)


def _foretell(say: CommandConsole, plan: ConfigPlan, folder: OutputFolder) -> None:
    """What would be done, a line each."""
    for model in plan.models:
        for place in plan.inputs:
            for step in plan.steps:
                say.data(f"{step.command}\t{folder.path / model / place / step.name}")


@dataclass(frozen=True)
class _Work:
    """All steps of a plan, one after another."""

    plan: ConfigPlan
    read: Mapping[str, Sequence[Text]]
    resolved: Mapping[str, Any]
    folder: OutputFolder
    talk: ConsoleOptions

    def do(self) -> None:
        """Each model on each input; an error says at which step, and what was written before stays."""
        infos = []
        for name, options in self.plan.models.items():
            with command_console(self.talk):
                model = self._load(name)
            for place in self.plan.inputs:
                with command_console(self.talk) as say, _at(f"{name}/{place}"):
                    held = self._hold(model, options, place, say)
                    say.notes(held.info.notes if held.run is None else ())
                infos.append(held.info)
                self.folder.claim()
                for step in self.plan.steps:
                    with _at(f"{name}/{place}/{step.name}"):
                        self._step(step, SharedModel(**changed(options), held=held), name, place)
        with command_console(self.talk) as say:
            manifest = self.folder.finish(self._info(infos))
            self._tell(say, manifest)

    def _load(self, name: str) -> Runner:
        from attncli.engine.invocation import load_model

        return load_model(self.resolved["models"][name])

    def _hold(self, model: Runner, options: ModelOptions, place: str, say: CommandConsole) -> SharedPass:
        """One pass for all steps, with the heads that they have in common."""
        from attncli.engine.shared_pass import share_pass

        selections = [step.selection for step in self.plan.steps]
        chosen = {name: {str(getattr(each, name)) for each in selections} for name in ("kind", "layer", "head")}
        common = {name: getattr(selections[0], name) for name, values in chosen.items() if len(values) == 1}
        selection = SelectionOptions(**common)
        files = OutputOptions(max_memory=self.plan.place.max_memory)
        groups = (options, self.plan.inputs[place], selection, files, SavedRunOptions())
        neurons = any(getattr(group, "neurons", False) for step in self.plan.steps for group in step.groups.values())
        head, _ = split_heads(selection.head, options.model_head)
        request = request_of(groups, head, {"neurons": neurons})
        return share_pass(model, self.read[place], request, say.track)

    def _step(self, step: ConfigStep, model: SharedModel, name: str, place: str) -> None:
        """Collected a command as if it had been typed; what it says on stdout is ours to say."""
        within = f"{name}/{place}/{step.name}"
        files = replace(
            next(group for group in step.groups.values() if isinstance(group, OutputOptions)),
            out=str(self.folder.path / within),
            force=self.plan.place.force,
            max_memory=self.plan.place.max_memory,
        )
        reads_none = any(getattr(group, "probe", None) for group in step.groups.values())
        shared = {
            "model": model,
            "texts": InputOptions() if reads_none else self.plan.inputs[place],
            "again": SavedRunOptions(),
            "talk": replace(self.talk, json=False),
            "files": files,
        }
        command = getattr(registry.module("cli.commands", step.command), step.command)
        with contextlib.redirect_stdout(io.StringIO()):
            command(**{**step.groups, **shared})
        for path in _files(self.folder.path / within):
            self.folder.holds(str(path.relative_to(self.folder.path)))

    def _info(self, infos: Sequence[RunInfo]) -> RunInfo:
        from attncli.engine.shared_pass import merge_infos
        from attncli.store import input_sha256

        texts = [text for texts in self.read.values() for text in texts]
        return replace(merge_infos(infos), resolved=self.resolved, input_sha256=input_sha256(texts))

    def _tell(self, say: CommandConsole, manifest: Mapping[str, Any]) -> None:
        from attncli.store import json_text

        if say.options.json:
            say.data(json_text(manifest))
        for path in self.folder.written:
            if say.to_person:
                say.wrote(path)
            elif not say.options.json:
                say.data(str(path))


@contextlib.contextmanager
def _at(step: str) -> Iterator[None]:
    """Errors say where they came from."""
    try:
        yield
    except AttnError as error:
        raise type(error)(f"at {step}: {error}") from error


def _files(folder: Path) -> list[Path]:
    """What the manifest of a step lists."""
    from attncli.store import manifest_files

    return [folder / name for name in manifest_files(folder)]
