"""The plan of `attncli run`: what its file and the options of the command line ask for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, TypeVar

from attncli.cli.command_table import study_commands
from attncli.cli.config.sections import given
from attncli.cli.config.shape import config, steps
from attncli.edit_options import EditedModelOptions
from attncli.inputs.yaml_file import Document, Section, read_yaml, validate
from attncli.options import (
    FolderOptions,
    InputOptions,
    OutputOptions,
    PictureOptions,
    SelectionOptions,
    StudyOptions,
    changed,
    key,
)
from attncli.store.text import slug
from attncli.vocabulary import DEFAULT_MODEL, TEXT_SOURCES

_READING = ("generate", "max_tokens", "add_bos", "batch_tokens")
"""Options of an input that hold for any text."""
ValueT = TypeVar("ValueT")
GroupT = TypeVar("GroupT")


@dataclass(frozen=True)
class ConfigStep:
    """One command of a file; `study_options` are its options besides those that all studies share."""

    name: str
    command: str
    selection: SelectionOptions
    output: OutputOptions
    study_options: tuple[Any, ...]

    @property
    def options(self) -> dict[str, Any]:
        """The options of the step by field, as plain values; without those of pictures."""
        groups = (self.selection, self.output, *self.study_options)
        return {
            name: value
            for group in groups
            if not isinstance(group, PictureOptions)
            for name, value in vars(group).items()
        }

    @property
    def pictures(self) -> PictureOptions | None:
        """How the pictures of the step look; None if it draws none."""
        return next((group for group in self.study_options if isinstance(group, PictureOptions)), None)

    @property
    def reads_texts(self) -> bool:
        """Whether the step reads the texts of the file."""
        return all(group.reads_texts for group in self.study_options if isinstance(group, StudyOptions))

    @property
    def needs_vectors(self) -> bool:
        """Whether the step needs the query and key vectors of the forward pass."""
        return any(group.needs_vectors for group in self.study_options if isinstance(group, StudyOptions))

    @property
    def predicts_tokens(self) -> bool:
        """Whether the step uses the language-model head of the model."""
        return any(group.predicts_tokens for group in self.study_options if isinstance(group, StudyOptions))

    @property
    def reads_head(self) -> bool:
        """Whether the step needs the output of the head of the checkpoint."""
        return any(group.reads_head for group in self.study_options if isinstance(group, StudyOptions))


@dataclass(frozen=True)
class ConfigPlan:
    """What a file asks for: each model reads each input, and each step runs on both; by the names of their folders."""

    name: str
    models: Mapping[str, EditedModelOptions]
    inputs: Mapping[str, InputOptions]
    steps: Sequence[ConfigStep]
    output: FolderOptions


def read_plan(path: str, *typed_groups: Any) -> ConfigPlan:
    """Return what a file asks for; raise UsageError with line and column if it is wrong.

    typed_groups  option groups of the command line, which override the file
    """
    document = read_yaml(path)
    read: Any = validate(document, config())
    typed = {type(group): changed(group) for group in typed_groups}
    return ConfigPlan(
        name=read.name or PurePath(document.name).stem,
        models=_models(document, read, typed[EditedModelOptions]),
        inputs=_inputs(document, read, typed[InputOptions]),
        steps=_steps(document, read, typed),
        output=FolderOptions(**{**given(read, FolderOptions), **typed[FolderOptions]}),
    )


def _models(document: Document, read: Any, typed: Mapping[str, Any]) -> dict[str, EditedModelOptions]:
    """Return the models; one on the command line replaces all in the file."""
    base = given(read, EditedModelOptions)
    if read.models and "model" in base:
        raise document.error(("model",), "model and models exclude each other: give one of them", at_key=True)
    entries = read.models if read.models and "model" not in typed else [None]
    models = [_merge(EditedModelOptions, base, entry, typed) for entry in entries]
    default_names = [slug(options.model or DEFAULT_MODEL) for options in models]
    names = [getattr(entry, "name", None) or name for entry, name in zip(entries, default_names, strict=True)]
    return _by_name(document, "models", names, models)


def _inputs(document: Document, read: Any, typed: Mapping[str, Any]) -> dict[str, InputOptions]:
    """Return the inputs; one on the command line replaces all in the file."""
    base = given(read, InputOptions)
    if read.inputs and (source := next((key(name) for name in TEXT_SOURCES if name in base), None)):
        raise document.error((source,), f"{source} and inputs exclude each other: give one of them", at_key=True)
    entries = read.inputs or [None]
    if any(name in typed for name in TEXT_SOURCES):
        base = {name: value for name, value in base.items() if name in _READING}
        entries = [None]
    inputs = [_merge(InputOptions, base, entry, typed) for entry in entries]
    for number, options in enumerate(inputs):
        if not any(getattr(options, name) for name in TEXT_SOURCES):
            sources = ", ".join(map(key, TEXT_SOURCES))
            raise document.error(("inputs", number), f"there is no text to read: give {sources} or inputs")
    names = [getattr(entry, "name", None) or f"{number:03}" for number, entry in enumerate(entries)]
    return _by_name(document, "inputs", names, inputs)


def _steps(document: Document, read: Any, typed: Mapping[type, Mapping[str, Any]]) -> list[ConfigStep]:
    """Return the steps: the command line overrides their selection and pictures, and these override the file's."""
    if not read.steps:
        raise document.error(("steps",), f"there are no steps: give some of {', '.join(steps())}", at_key=True)
    shared = (SelectionOptions, PictureOptions)
    base = {group: given(read, group) for group in shared}
    made: list[ConfigStep] = []
    for entry in read.steps:
        (command,) = entry.model_fields_set
        options = getattr(entry, command)
        study_options = tuple(
            _merge(group, base[group], options, typed[group]) if group in shared else group(**given(options, group))
            for group in study_commands()[command]
        )
        earlier = sum(step.command == command for step in made)
        name = options.name or (f"{command}-{earlier + 1}" if earlier else command)
        selection = _merge(SelectionOptions, base[SelectionOptions], options, typed[SelectionOptions])
        made.append(ConfigStep(name, command, selection, OutputOptions(**given(options, OutputOptions)), study_options))
    return list(_by_name(document, "steps", [step.name for step in made], made).values())


def _merge(group: type[GroupT], base: Mapping[str, Any], entry: Section | None, typed: Mapping[str, Any]) -> GroupT:
    """Return an option group: the command line overrides an entry of the file, which overrides the rest of the file."""
    return group(**{**base, **({} if entry is None else given(entry, group)), **typed})


def _by_name(document: Document, key: str, names: Sequence[str], values: Sequence[ValueT]) -> dict[str, ValueT]:
    """Return values by name; raise UsageError if a name is used twice or cannot be the name of a folder."""
    named: dict[str, ValueT] = {}
    for number, (name, value) in enumerate(zip(names, values, strict=True)):
        if name != slug(name):
            raise document.error((key, number), f"expected a name of letters, digits, -, _ and ., got '{name}'")
        if name in named:
            raise document.error((key, number), f"two {key} are called '{name}': give this one another name")
        named[name] = value
    return named
