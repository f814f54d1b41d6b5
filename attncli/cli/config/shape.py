"""Option groups as sections of a YAML file, the file of `attncli run` made of them, and the reference of its keys."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from functools import cache
from typing import Annotated, Any, ClassVar, TypeVar, get_args, get_type_hints

from pydantic import AfterValidator, Field, GetJsonSchemaHandler, WithJsonSchema, create_model, model_validator

from attncli.cli.command_table import study_commands
from attncli.errors import UsageError, did_you_mean
from attncli.inputs.yaml_file import FilePath, JoinedText, Section, TextList
from attncli.options import FolderOptions, InputOptions, ModelOptions, OutputOptions, SelectionOptions, key

Group = TypeVar("Group")
_FILES = ("file", "text_file", "chat", "segments")
"""Options that name a file; it is found relative to the YAML file."""
_NOT_IN_STEPS = (*(field.name for field in fields(FolderOptions)), "open")


def section(
    title: str, /, *groups: type, without: Collection[str] = (), base: type[Section] = Section, **more: Any
) -> type[Section]:
    """Return a section with an optional key for each option of some groups.

    without  fields that no file may set
    more     further keys, as `pydantic.create_model` takes them
    """
    keys: dict[str, Any] = {}
    former_keys: dict[str, str] = {}
    for group in groups:
        hints = get_type_hints(group)
        for field in fields(group):
            if field.name not in without:
                option, name_in_file = field.metadata["option"], key(field.name)
                former_keys |= {former.lstrip("-"): name_in_file for former in option.former}
                checked = _checked(_kind_in_file(hints[field.name]), name_in_file, option.values())
                value = FilePath if field.name in _FILES else checked
                keys[field.name] = (value, Field(None, alias=name_in_file, description=option.help))
    made = create_model(title, __base__=base, **keys, **more)
    made.former_keys = former_keys
    return made


def given(read: Section, group: type[Group]) -> dict[str, Any]:
    """Return the options of a group that a section sets, by field."""
    names = [field.name for field in fields(group)]  # type: ignore[arg-type]
    return {name: getattr(read, name) for name in names if name in read.model_fields_set}


def _kind_in_file(hint: Any) -> Any:
    """Return the type of a value in a file, for the type of an option."""
    inner = next((part for part in get_args(hint) if part is not type(None)), hint)
    if inner is str:
        return JoinedText
    return TextList if inner == list[str] else inner


def _checked(kind: Any, name: str, values: Sequence[str]) -> Any:
    """Return a type that accepts only the values of an option; `a,b` means both, `all` means every value."""
    if not values:
        return kind

    def check_values(value: Any) -> Any:
        for text in [value] if isinstance(value, str) else value:
            for part in str(text).split(","):
                if part.strip() not in (*values, "all"):
                    raise UsageError(f"unknown {name} '{part.strip()}': {did_you_mean(part.strip(), values)}")
        return value

    single = {"enum": list(values)} if name != "metric" else {"enum": [*values, "all"]}
    schema = single if kind is JoinedText else {"anyOf": [single, {"type": "array", "items": single}]}
    return Annotated[kind, AfterValidator(check_values), WithJsonSchema(schema)]


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
    model = section("model", ModelOptions, base=_ModelEntry)
    entry = section("input", InputOptions, base=_InputEntry)
    return section(
        *("config", ModelOptions, InputOptions, SelectionOptions, FolderOptions),
        name=(JoinedText | None, Field(None, description="name of the folder of the run (default: that of the file)")),
        models=(list[model], Field([], description="several models instead of one")),  # type: ignore[valid-type]
        inputs=(list[entry], Field([], description="several inputs instead of one")),  # type: ignore[valid-type]
        steps=(list[step], Field(description="commands, alone or with their options")),  # type: ignore[valid-type]
    )


def config_keys() -> str:
    """Return all keys of the file with their meanings, as Markdown."""
    groups = {
        "models": section("model", ModelOptions),
        "inputs": section("input", InputOptions),
        "selection": section("selection", SelectionOptions),
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
