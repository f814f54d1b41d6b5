"""What the file of `attncli run` may say: its keys are the options of the command line."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import Any, ClassVar, get_type_hints

from pydantic import Field, GetJsonSchemaHandler, create_model, model_validator

from attncli import registry
from attncli.cli.config.sections import section
from attncli.errors import UsageError
from attncli.inputs.schema import JoinedText, Section
from attncli.options import (
    ConsoleOptions,
    FolderOptions,
    InputOptions,
    ModelOptions,
    SavedRunOptions,
    SelectionOptions,
)

SHARED = (ModelOptions, InputOptions, SavedRunOptions, ConsoleOptions)
"""Groups that the steps of a file have in common, or that it has no use for."""
_OF_ALL = tuple(each.name for each in fields(FolderOptions))


class _Short(Section):
    """A section that may be written as one text, the value of its main key."""

    main: ClassVar[str]

    @model_validator(mode="before")
    @classmethod
    def _spelt_out(cls, values: Any) -> Any:
        return {cls.main: values} if isinstance(values, str) else values

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"type": "string"}, handler(core)]}


class _ModelEntry(_Short):
    main = "model"
    name: JoinedText | None = Field(None, description="how its folder is called (default: the model's name)")


class _InputEntry(_Short):
    main = "text"
    name: JoinedText | None = Field(None, description="how its folder is called (default: 000, 001, …)")


class _StepEntry(Section):
    """One command as the only key; the name alone stands for a command without options."""

    @model_validator(mode="before")
    @classmethod
    def _spelt_out(cls, values: Any) -> Any:
        if isinstance(values, str):
            return {values: {}}
        if isinstance(values, Mapping):
            return {command: {} if options is None else options for command, options in values.items()}
        return values

    @model_validator(mode="after")
    def _one(self) -> _StepEntry:
        if len(self.model_fields_set) != 1:
            raise UsageError(f"expected one command, got {len(self.model_fields_set)}: give each step its own -")
        return self

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"enum": list(steps())}, {**handler(core), "minProperties": 1, "maxProperties": 1}]}


def groups_of(command: str) -> dict[str, type]:
    """The groups of options of a command, by its parameters."""
    hints = get_type_hints(getattr(registry.module("cli.commands", command), command))
    return {
        name: hint for name, hint in hints.items() if isinstance(hint, type) and hasattr(hint, "__dataclass_fields__")
    }


@cache
def steps() -> dict[str, type[Section]]:
    """The commands that can be steps, those that show texts to a model, each with the section of its options."""
    found = {}
    for command in registry.names("cli.commands"):
        groups = groups_of(command).values()
        if SavedRunOptions in groups:
            own = [group for group in groups if group not in SHARED]
            name = (JoinedText | None, Field(None, description=f"how its folder is called (default: {command})"))
            found[command] = section(command, *own, without=(*_OF_ALL, "open"), more={"name": name})
    return found


@cache
def config() -> type[Section]:
    """The whole file."""
    commands: dict[str, Any] = {name: (options | None, None) for name, options in steps().items()}
    step = create_model("step", __base__=_StepEntry, **commands)
    model = section("model", ModelOptions, base=_ModelEntry)
    entry = section("input", InputOptions, base=_InputEntry)
    return section(
        *("config", ModelOptions, InputOptions, SelectionOptions, FolderOptions),
        more={
            "name": (
                JoinedText | None,
                Field(None, description="how the folder of the run is called (default: the file)"),
            ),
            "models": (list[model], Field([], description="several models instead of one")),  # type: ignore[valid-type]
            "inputs": (list[entry], Field([], description="several inputs instead of one")),  # type: ignore[valid-type]
            "steps": (list[step], Field(description="what is done: commands, alone or with their options")),  # type: ignore[valid-type]
        },
    )
