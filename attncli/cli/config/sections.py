"""The options of commands as keys of a file: of the same names, held against the same values."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import fields
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

from pydantic import AfterValidator, Field, WithJsonSchema, create_model

from attncli.errors import UsageError, did_you_mean
from attncli.inputs.schema import FilePath, JoinedText, Section, TextList

Group = TypeVar("Group")
_FILES = ("file", "chat", "segments")


def key(name: str) -> str:
    """How the field of a group is called on the command line and in files.

    >>> key("max_tokens")
    'max-tokens'
    """
    return name.rstrip("_").replace("_", "-")


def section(
    name: str,
    *groups: type,
    without: Collection[str] = (),
    more: dict[str, Any] | None = None,
    base: type[Section] = Section,
) -> type[Section]:
    """A section of a file with a key for each option of these groups, none of which must be there.

    without  fields that no file may set; more: further keys, as `pydantic.create_model` takes them
    """
    found: dict[str, Any] = {}
    for group in groups:
        hints = get_type_hints(group, include_extras=True)
        for each in fields(group):
            if each.name not in without:
                kind, told = get_args(hints[each.name])
                values = told.autocompletion() if told.autocompletion else ()
                found[each.name] = (
                    FilePath if each.name in _FILES else _checked(_kind(kind), key(each.name), values),
                    Field(None, alias=key(each.name), description=told.help),
                )
    return create_model(name, __base__=base, **found, **(more or {}))


def given(read: Section, group: type[Group]) -> dict[str, Any]:
    """The options of a group that a section sets, by the names of their fields."""
    names = [each.name for each in fields(group)]  # type: ignore[arg-type]
    return {name: getattr(read, name) for name in names if name in read.model_fields_set}


def _kind(hint: Any) -> Any:
    """What a file may hold where the command line has this."""
    inner = next((each for each in get_args(hint) if each is not type(None)), hint)
    if inner is str:
        return JoinedText
    return TextList if inner == list[str] else inner


def _checked(kind: Any, name: str, values: Sequence[str]) -> Any:
    """The same, of these values alone; `a,b` is both of them, `all` is every one."""
    if not values:
        return kind

    def known(value: Any) -> Any:
        for one in [value] if isinstance(value, str) else value:
            for part in str(one).split(","):
                if part.strip() not in (*values, "all"):
                    raise UsageError(f"unknown {name} '{part.strip()}': {did_you_mean(part.strip(), values)}")
        return value

    check: Callable[[Any], Any] = known
    one = {"enum": list(values)} if name != "metric" else {"enum": [*values, "all"]}
    schema = one if kind is JoinedText else {"anyOf": [one, {"type": "array", "items": one}]}
    return Annotated[kind, AfterValidator(check), WithJsonSchema(schema)]
