"""Pydantic models for YAML files; an error is one line with the position in the file."""

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
from attncli.inputs.yaml_file import Document, KeyPath


class Section(BaseModel):
    """A mapping with known keys; an unknown key is an error that lists close names."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=False)

    @model_validator(mode="before")
    @classmethod
    def _check_keys(cls, values: object) -> object:
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


def _as_list(value: object) -> object:
    return value if isinstance(value, list) else [value]


def _existing_path(value: str, info: ValidationInfo) -> str:
    assert info.context is not None  # set by `validate`
    path = info.context["folder"] / value
    if value == STDIN:
        return value
    check_exists(path)
    return str(path)


def _join(value: object) -> object:
    return ",".join(value) if isinstance(value, list) and all(isinstance(item, str) for item in value) else value


_SCALAR: dict[str, Any] = {"type": ["string", "number", "boolean"]}
_SCALARS = WithJsonSchema({"anyOf": [_SCALAR, {"type": "array", "items": _SCALAR}]})
JoinedText = Annotated[str, BeforeValidator(_join), _SCALARS]
"""A text; a list of texts is joined by commas: `[0, 2]` is `0,2`."""
FilePath = Annotated[str, AfterValidator(_existing_path), WithJsonSchema({"type": "string"})]
"""The path of an existing file, relative to the folder of the document; `-` is stdin."""
TextList = Annotated[list[str], BeforeValidator(_as_list), _SCALARS]
"""A text or a list of texts."""

Model = TypeVar("Model", bound=BaseModel)


def validate(document: Document, model: type[Model]) -> Model:
    """Return the values of a document as `model`; raise UsageError with line and column for the first error."""
    try:
        return model.model_validate(document.values, context={"folder": document.folder})
    except ValidationError as error:
        raise _explain(document, error.errors()[0]) from None


def _explain(document: Document, details: Mapping[str, Any]) -> UsageError:
    """Return the error for one entry of `ValidationError.errors()`."""
    path: KeyPath = tuple(part for part in details["loc"] if not str(part).startswith("function-"))
    cause = details.get("ctx", {}).get("error")
    if isinstance(cause, _UnknownKeyError):
        return document.error((*path, cause.key), str(cause), at_key=True)
    if isinstance(cause, AttnError):
        return document.error(path, str(cause))
    if details["type"] == "missing":
        return document.error(path[:-1], f"the key '{path[-1]}' is missing")
    name = f"expected '{path[-1]}' to be" if path and isinstance(path[-1], str) else "expected"
    value = details["input"]
    got = f"'{value}'" if isinstance(value, str) else type_name(value)
    return document.error(path, f"{name} {_expectation(details)}, got {got}")


_EXPECTED = {
    **dict.fromkeys(("int_parsing", "int_type", "int_from_float"), "a whole number"),
    **dict.fromkeys(("float_parsing", "float_type"), "a number"),
    **dict.fromkeys(("bool_parsing", "bool_type"), "true or false"),
    **dict.fromkeys(("model_type", "model_attributes_type", "dict_type"), "keys and values"),
    "finite_number": "a finite number",
    "string_type": "a text",
    "list_type": "a list",
}


def _expectation(details: Mapping[str, Any]) -> str:
    context = details.get("ctx", {})
    if details["type"] == "literal_error":
        return f"one of {str(context['expected']).replace(chr(39), '')}"
    signs = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below", "min_length": "at least"}
    limits = [f"{signs[name]} {limit}" for name, limit in context.items() if name in signs]
    if limits:
        return " and ".join(limits) + (" long" if "min_length" in context else "")
    return _EXPECTED.get(details["type"]) or str(details["msg"]).lower()
