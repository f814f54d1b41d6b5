"""The reference of the file of `attncli run`: for people, and for editors as a JSON Schema."""

from __future__ import annotations

import textwrap
from dataclasses import fields
from typing import Any

from attncli.cli.config.sections import section
from attncli.cli.config.shape import config, steps
from attncli.inputs.schema import Section
from attncli.options import FolderOptions, InputOptions, ModelOptions, OutputOptions, SelectionOptions

_HEAD = """What attncli run does: YAML with the options of the command line as keys.

model: demo:encoder                # any option of a model; or several models:
models: [demo:encoder, {model: demo:decoder, dtype: bfloat16, name: half}]
text: The cat sat on the mat.      # any option of an input; or several inputs:
inputs: [The cat sat., {file: texts.txt, name: many}]
layer: 0-3                         # any option of the selection, for all steps
steps:
  - heatmap                        # a command, or a command with its options
  - stats: {metric: [entropy, sink], layer: all}
  - heatmap: {name: zoomed, layer: 1, head: 0}

Each model reads each input once for all steps, where their whole maps fit into memory (max-memory), else once a step.
A step writes to OUT/MODEL/INPUT/STEP.

Order     defaults of attncli < file < options typed beside it. A model or a text that is typed takes the place of all
          in the file. Of selections, that of a step goes before that of the file.
Values    texts as they stand there: head 3.10 is not 3.1, no is a word. ${NAME} is a variable of the environment,
          ${NAME:-else} has a default, $${ is a plain ${. Lists may stand where the command line repeats an option.
Files     are found from where the file lies.
Refused   unknown keys, tags, anchors, files of more than 256 kB

The schema for editors is printed by attncli explain config --json."""


def config_page() -> str:
    """What the file may say, key by key."""
    groups = {
        "models": section("model", ModelOptions),
        "inputs": section("input", InputOptions),
        "selection": section("selection", SelectionOptions),
        "output": section("output", FolderOptions),
        "files of a step": section("files", OutputOptions, without=[each.name for each in fields(FolderOptions)]),
    }
    known = {field.alias for found in groups.values() for field in found.model_fields.values()}
    parts = [_HEAD, _listed("Keys of the file", config(), known)]
    parts += [_listed(f"Keys of {name}", found) for name, found in groups.items()]
    parts += [_listed(f"Keys of the step {command}", found, known) for command, found in steps().items()]
    return "\n\n".join(parts)


def config_schema() -> dict[str, Any]:
    """The same as a JSON Schema."""
    schema = config().model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "attncli run"}


def _listed(title: str, found: type[Section], without: Any = ()) -> str:
    """Each key with what it means."""
    keys = {field.alias or name: field.description or "" for name, field in found.model_fields.items()}
    shown = {name: told for name, told in keys.items() if name not in without}
    width = max(map(len, shown))
    lines = [
        textwrap.fill(told, 118, initial_indent=f"  {name:{width}}  ", subsequent_indent=" " * (width + 4))
        for name, told in shown.items()
    ]
    return "\n".join([title, *lines])
