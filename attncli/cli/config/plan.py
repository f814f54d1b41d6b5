"""From the file of `attncli run`, and the options typed beside it, to what is to be done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from attncli.cli.config.sections import given
from attncli.cli.config.shape import SHARED, config, groups_of, steps
from attncli.inputs.schema import Section, validate
from attncli.inputs.yaml_file import Document, KeyPath, read_yaml
from attncli.options import DEFAULT_MODEL, FolderOptions, InputOptions, ModelOptions, SelectionOptions, changed
from attncli.store.text import slug

TEXTS = ("text", "file", "chat")


@dataclass(frozen=True)
class ConfigStep:
    """One command by a name of its own, with the groups of its options by parameter."""

    name: str
    command: str
    groups: Mapping[str, Any]

    @property
    def selection(self) -> SelectionOptions:
        return next(group for group in self.groups.values() if isinstance(group, SelectionOptions))


@dataclass(frozen=True)
class ConfigPlan:
    """What is to be done: each model reads each input, and each step shows it. All have names of their own."""

    name: str
    models: Mapping[str, ModelOptions]
    inputs: Mapping[str, InputOptions]
    steps: Sequence[ConfigStep]
    place: FolderOptions


def read_plan(path: str, *flags: Any) -> ConfigPlan:
    """What a file asks for; what is wrong in it is a `UsageError` with line and column.

    flags  the groups of options that were typed; what was, goes before the file
    """
    document = read_yaml(path)
    read: Any = validate(document, config())
    typed = {type(group): changed(group) for group in flags}
    return ConfigPlan(
        name=read.name or PurePath(document.name).stem,
        models=_models(document, read, typed[ModelOptions]),
        inputs=_inputs(document, read, typed[InputOptions]),
        steps=_steps(document, read, typed[SelectionOptions]),
        place=FolderOptions(**{**given(read, FolderOptions), **typed[FolderOptions]}),
    )


def _models(document: Document, read: Any, typed: Mapping[str, Any]) -> dict[str, ModelOptions]:
    """A model that is typed takes the place of all that the file names."""
    base = given(read, ModelOptions)
    if read.models and "model" in base:
        raise document.error(("model",), "model and models exclude each other: give one of them", at_key=True)
    entries = read.models if read.models and "model" not in typed else [None]
    made = [ModelOptions(**{**base, **_own(entry, ModelOptions), **typed}) for entry in entries]
    names = [_name(entry) or slug(options.model or DEFAULT_MODEL) for entry, options in zip(entries, made, strict=True)]
    return _named(document, "models", names, made)


def _inputs(document: Document, read: Any, typed: Mapping[str, Any]) -> dict[str, InputOptions]:
    """A text that is typed takes the place of all in the file."""
    base = given(read, InputOptions)
    if read.inputs and (there := [name for name in TEXTS if name in base]):
        raise document.error((there[0],), f"{there[0]} and inputs exclude each other: give one of them", at_key=True)
    entries = read.inputs or [None]
    if any(name in typed for name in TEXTS):
        base = {name: value for name, value in base.items() if name in ("generate", "max_tokens", "batch_tokens")}
        entries = [None]
    made = [InputOptions(**{**base, **_own(entry, InputOptions), **typed}) for entry in entries]
    for at, options in enumerate(made):
        if not any(getattr(options, name) for name in TEXTS):
            raise document.error(("inputs", at), f"there is no text to read: give {', '.join(TEXTS)} or inputs")
    return _named(document, "inputs", [_name(entry) or f"{at:03}" for at, entry in enumerate(entries)], made)


def _steps(document: Document, read: Any, typed: Mapping[str, Any]) -> list[ConfigStep]:
    """Selections that are typed go before those of a step, which go before those of the file."""
    if not read.steps:
        raise document.error(("steps",), f"there are no steps: give some of {', '.join(steps())}", at_key=True)
    selection = given(read, SelectionOptions)
    found: list[ConfigStep] = []
    for entry in read.steps:
        (command,) = entry.model_fields_set
        options = getattr(entry, command)
        groups: dict[str, Any] = {}
        for parameter, group in groups_of(command).items():
            if group is SelectionOptions:
                groups[parameter] = group(**{**selection, **given(options, group), **typed})
            elif group not in SHARED:
                groups[parameter] = group(**given(options, group))
        earlier = sum(each.command == command for each in found)
        name = options.name or (f"{command}-{earlier + 1}" if earlier else command)
        found.append(ConfigStep(name, command, groups))
    return list(_named(document, "steps", [step.name for step in found], found).values())


def _own(entry: Section | None, group: type) -> dict[str, Any]:
    return {} if entry is None else given(entry, group)


def _name(entry: Any) -> str | None:
    return None if entry is None else entry.name


def _named(document: Document, where: str, names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    """By names that folders can have, each once."""
    found: dict[str, Any] = {}
    for at, (name, value) in enumerate(zip(names, values, strict=True)):
        way: KeyPath = (where, at)
        if name != slug(name):
            raise document.error(way, f"expected a name of letters, digits, -, _ and ., got '{name}'")
        if name in found:
            raise document.error(way, f"two {where} are called '{name}': give this one another name")
        found[name] = value
    return found
