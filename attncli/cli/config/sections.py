"""Option groups as sections of a YAML file: each option is a key."""

from __future__ import annotations

import glob
from collections.abc import Collection
from dataclasses import fields
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

from pydantic import AfterValidator, Field, ValidationInfo, WithJsonSchema, create_model

from attncli.errors import UsageError, did_you_mean
from attncli.inputs.corpus_files import find_corpus_files, is_corpus, is_pattern
from attncli.inputs.text_files import STDIN, check_exists
from attncli.inputs.yaml_file import FilePath, JoinedText, Section, TextList
from attncli.options import Option, key
from attncli.paths import what_is_at

Group = TypeVar("Group")
_FILES = ("text_file", "chat", "segments", "mean_file", "held_out")
"""Options that name a file; it is found relative to the YAML file."""


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
                checked = _checked(_kind_in_file(hints[field.name]), name_in_file, option)
                kind = FilePath if field.name in _FILES else _CORPORA.get(field.name, checked)
                keys[field.name] = (kind, Field(None, alias=name_in_file, description=option.help))
    made = create_model(title, __base__=base, **keys, **more)
    made.former_keys = former_keys
    return made


def _corpus_path(value: str, info: ValidationInfo) -> str:
    """Return the path of files that a section names, relative to the folder of the document; `-` is stdin."""
    assert info.context is not None  # set by `validate`
    path = value if value == STDIN else str(info.context["folder"] / value)
    if path == STDIN or not is_corpus(path):
        check_exists(path)
    elif is_pattern(path):
        path = f"{glob.escape(str(info.context['folder']))}/{value}"
        find_corpus_files(path)
    return path


def _dataset_path(value: str, info: ValidationInfo) -> str:
    """Return the path of a dataset in the folder of the document, or a name on the Hub as it is."""
    assert info.context is not None  # set by `validate`
    path = info.context["folder"] / value
    return str(path) if what_is_at(path) == "folder" else value


_CORPORA: dict[str, Any] = {
    "file": Annotated[str, AfterValidator(_corpus_path), WithJsonSchema({"type": "string"})],
    "dataset": Annotated[str, AfterValidator(_dataset_path), WithJsonSchema({"type": "string"})],
}
"""Options that name one file or many."""


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


def _checked(kind: Any, name: str, option: Option) -> Any:
    """Return a type that accepts only the values of an option; `a,b` means both, `all` means every value.

    Files after the beginning of a value are relative to the folder of the document.
    """
    values, begins = option.values(), option.file_value.removesuffix("FILE")
    if not values:
        return kind

    def check_values(value: Any, info: ValidationInfo) -> Any:
        if option.file_value and str(value).startswith(begins):
            assert info.context is not None  # set by `validate`
            return f"{begins}{info.context['folder'] / value.removeprefix(begins)}"
        for text in [value] if isinstance(value, str) else value:
            for part in str(text).split(","):
                if part.strip() not in (*values, "all"):
                    raise UsageError(f"unknown {name} '{part.strip()}': {did_you_mean(part.strip(), values)}")
        return value

    single = {"enum": list(values)} if name != "metric" else {"enum": [*values, "all"]}
    schema: dict[str, Any] = single if kind is JoinedText else {"anyOf": [single, {"type": "array", "items": single}]}
    if option.file_value:
        schema = {"anyOf": [schema, {"type": "string", "pattern": f"^{begins}"}]}
    return Annotated[kind, AfterValidator(check_values), WithJsonSchema(schema)]
