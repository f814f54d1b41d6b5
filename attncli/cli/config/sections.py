"""Option groups as sections of a YAML file: the same names, the same values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import fields
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

from pydantic import AfterValidator, Field, WithJsonSchema, create_model

from attncli.errors import UsageError, did_you_mean
from attncli.inputs.yaml_file import FilePath, JoinedText, Section, TextList
from attncli.options import key

Group = TypeVar("Group")
_FILES = ("file", "chat", "segments")
"""Options that name a file; it is found relative to the YAML file."""


def section(
    name: str,
    *groups: type,
    without: Collection[str] = (),
    more: dict[str, Any] | None = None,
    base: type[Section] = Section,
) -> type[Section]:
    """Return a section with an optional key for each option of some groups.

    without  fields that no file may set
    more     further keys, as `pydantic.create_model` takes them
    """
    keys: dict[str, Any] = {}
    for group in groups:
        hints = get_type_hints(group, include_extras=True)
        for field in fields(group):
            if field.name not in without:
                kind, option = get_args(hints[field.name])
                name_in_file = key(field.name)
                value = (
                    FilePath if field.name in _FILES else _checked(_kind_in_file(kind), name_in_file, option.values())
                )
                keys[field.name] = (value, Field(None, alias=name_in_file, description=option.help))
    return create_model(name, __base__=base, **keys, **(more or {}))


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

    check: Callable[[Any], Any] = check_values
    single = {"enum": list(values)} if name != "metric" else {"enum": [*values, "all"]}
    schema = single if kind is JoinedText else {"anyOf": [single, {"type": "array", "items": single}]}
    return Annotated[kind, AfterValidator(check), WithJsonSchema(schema)]
