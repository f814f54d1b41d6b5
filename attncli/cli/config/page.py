"""The reference of the file of `attncli run`: its keys for people, and a JSON Schema for editors."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields
from typing import Any

from attncli.cli.config.sections import section
from attncli.cli.config.shape import config, steps
from attncli.inputs.yaml_file import Section
from attncli.options import FolderOptions, InputOptions, ModelOptions, OutputOptions, SelectionOptions


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
