"""What a file is held against: pydantic models whose errors are one line with the place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)

from attncli.errors import AttnError, UsageError, did_you_mean
from attncli.inputs.text_files import STDIN, check_exists, type_name
from attncli.inputs.yaml_file import Document, Path_


class Section(BaseModel):
    """Keys and values; a key that is not known is refused with those that are like it."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=False)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, values: Any) -> Any:
        if isinstance(values, Mapping):
            known = [field.alias or name for name, field in cls.model_fields.items()]
            for key in values:
                if key not in known:
                    raise _UnknownKeyError(key, known)
        return values


class _UnknownKeyError(UsageError):
    def __init__(self, key: str, known: Sequence[str]) -> None:
        super().__init__(f"unknown key '{key}': {did_you_mean(key, known)}")
        self.key = key


def _several(value: Any) -> Any:
    return value if isinstance(value, list) else [value]


def _there(value: str, info: ValidationInfo) -> str:
    assert info.context is not None  # see `validate`
    path = info.context["folder"] / value
    if value == STDIN:
        return value
    check_exists(path)
    return str(path)


def _joined(value: Any) -> Any:
    plain = isinstance(value, list) and all(isinstance(each, str) for each in value)
    return ",".join(value) if plain else value


_ONE: dict[str, Any] = {"type": ["string", "number", "boolean"]}
_SOME = WithJsonSchema({"anyOf": [_ONE, {"type": "array", "items": _ONE}]})
Text = Annotated[str, BeforeValidator(_joined), _SOME]
"""One text, for which a list of texts is their enumeration: `[0, 2]` is `0,2`."""
File = Annotated[str, AfterValidator(_there), WithJsonSchema({"type": "string"})]
"""A file, found from where the document lies; `-` is stdin."""
Listed = Annotated[list[str], BeforeValidator(_several), _SOME]
"""One text or a list of them."""

Model = TypeVar("Model", bound=BaseModel)


def validate(document: Document, model: type[Model]) -> Model:
    """What a file says as this model; the first thing that is wrong is a `UsageError` with line and column."""
    try:
        return model.model_validate(document.values, context={"folder": document.folder})
    except ValidationError as error:
        raise _explained(document, error.errors()[0]) from None


def _explained(document: Document, found: Mapping[str, Any]) -> UsageError:
    way: Path_ = tuple(part for part in found["loc"] if not str(part).startswith("function-"))
    context: Mapping[str, Any] = found.get("ctx", {})
    cause = context.get("error")
    if isinstance(cause, _UnknownKeyError):
        return document.error((*way, cause.key), str(cause), at_key=True)
    if isinstance(cause, AttnError):
        return document.error(way, str(cause))
    if found["type"] == "missing":
        return document.error(way[:-1], f"the key '{way[-1]}' is missing")
    name = f"expected '{way[-1]}' to be" if way and isinstance(way[-1], str) else "expected"
    return document.error(way, f"{name} {_expected(found)}, got {_got(found['input'])}")


_EXPECTED = {
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "a text",
    "list_type": "a list",
    "model_type": "keys and values",
    "model_attributes_type": "keys and values",
    "dict_type": "keys and values",
}


def _expected(found: Mapping[str, Any]) -> str:
    context = found.get("ctx", {})
    if found["type"] == "literal_error":
        return f"one of {str(context['expected']).replace(chr(39), '')}"
    signs = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below", "min_length": "at least"}
    limits = [f"{signs[name]} {limit}" for name, limit in context.items() if name in signs]
    if limits:
        return " and ".join(limits) + (" long" if "min_length" in context else "")
    return _EXPECTED.get(found["type"]) or str(found["msg"]).lower()


def _got(value: Any) -> str:
    return f"'{value}'" if isinstance(value, str) else type_name(value)
