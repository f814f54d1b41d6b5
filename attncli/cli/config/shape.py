"""The file of `attncli run`, made of sections of option groups, and the reference of its keys."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import fields
from functools import cache
from typing import Any, ClassVar

from pydantic import Field, GetJsonSchemaHandler, create_model, model_validator

from attncli.cli.command_table import study_commands
from attncli.cli.config.sections import section
from attncli.edit_options import EditedModelOptions
from attncli.errors import UsageError
from attncli.inputs.yaml_file import JoinedText, Section
from attncli.options import FolderOptions, InputOptions, OutputOptions, PictureOptions, SelectionOptions

_NOT_IN_STEPS = (*(field.name for field in fields(FolderOptions)), "open")


class _ShortSection(Section):
    """A section that may be written as one text, the value of its main key."""

    main: ClassVar[str]

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, values: Any) -> Any:
        return {cls.main: values} if isinstance(values, str) else values

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"type": "string"}, handler(core)]}


class _ModelEntry(_ShortSection):
    main = "model"
    name: JoinedText | None = Field(None, description="name of its folder (default: the model's name)")


class _InputEntry(_ShortSection):
    main = "text"
    name: JoinedText | None = Field(None, description="name of its folder (default: 000, 001, …)")


class _StepEntry(Section):
    """A step: one command as the only key, or its name alone if it has no options."""

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, values: Any) -> Any:
        if isinstance(values, str):
            return {values: {}}
        if isinstance(values, Mapping):
            return {command: {} if options is None else options for command, options in values.items()}
        return values

    @model_validator(mode="after")
    def _check_single(self) -> _StepEntry:
        if len(self.model_fields_set) != 1:
            raise UsageError(f"expected one command, got {len(self.model_fields_set)}: give each step its own -")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"enum": list(steps())}, {**handler(core), "minProperties": 1, "maxProperties": 1}]}


@cache
def steps() -> dict[str, type[Section]]:
    """Return the commands that can be steps, those that also read saved runs, with the section of their options."""
    sections = {}
    for command, groups in study_commands().items():
        name = (JoinedText | None, Field(None, description=f"name of its folder (default: {command})"))
        options = (SelectionOptions, OutputOptions, *groups)
        sections[command] = section(command, *options, without=_NOT_IN_STEPS, name=name)
    return sections


@cache
def config() -> type[Section]:
    """Return the section of the whole file."""
    options: dict[str, Any] = {name: (options | None, None) for name, options in steps().items()}
    step = create_model("step", __base__=_StepEntry, **options)
    model = section("model", EditedModelOptions, base=_ModelEntry)
    entry = section("input", InputOptions, base=_InputEntry)
    return section(
        *("config", EditedModelOptions, InputOptions, SelectionOptions, PictureOptions, FolderOptions),
        name=(JoinedText | None, Field(None, description="name of the folder of the run (default: that of the file)")),
        models=(list[model], Field([], description="several models instead of one")),  # type: ignore[valid-type]
        inputs=(list[entry], Field([], description="several inputs instead of one")),  # type: ignore[valid-type]
        steps=(list[step], Field(description="commands, alone or with their options")),  # type: ignore[valid-type]
    )


def config_keys() -> str:
    """Return all keys of the file with their meanings, as Markdown."""
    groups = {
        "models": section("model", EditedModelOptions),
        "inputs": section("input", InputOptions),
        "selection": section("selection", SelectionOptions),
        "pictures": section("pictures", PictureOptions),
        "output": section("output", FolderOptions),
        "files of a step": section("files", OutputOptions, without=[field.name for field in fields(FolderOptions)]),
    }
    known = {field.alias or "" for keys in groups.values() for field in keys.model_fields.values()}
    parts = [_listed("Keys of the file", config(), known)]
    parts += [_listed(f"Keys of {name}", keys) for name, keys in groups.items()]
    parts += [_listed(f"Keys of the step {command}", keys, known) for command, keys in steps().items()]
    return "\n\n".join(parts)


def config_schema() -> dict[str, Any]:
    """Return the JSON Schema of the file."""
    schema = config().model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "attncli run"}


def _listed(title: str, keys: type[Section], without: Collection[str] = ()) -> str:
    """Return a heading and a list of keys."""
    meanings = {field.alias or name: field.description or "" for name, field in keys.model_fields.items()}
    lines = [f"- `{name}`: {meaning}" for name, meaning in meanings.items() if name not in without]
    return "\n".join([f"## {title}", "", *lines])
