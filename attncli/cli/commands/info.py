"""`attncli info`: what a model offers before it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from attncli.cli.console import command_console
from attncli.cli.run_study import load_arguments, split_heads
from attncli.errors import UsageError
from attncli.options import ConsoleOptions, ModelOptions
from attncli.terminal import add_row, blank_table

if TYPE_CHECKING:
    from rich.table import Table


def info(
    model: ModelOptions,
    console: ConsoleOptions,
    head: Annotated[
        list[str] | None,
        typer.Option("--head", metavar="NAME", help="the same as --model-head", rich_help_panel="Model"),
    ] = None,
) -> None:
    """Describe a model before running it.

    Prints its class, parameters, layers and heads of each kind of attention, key/value heads, longest input, and how
    its attention is captured and why.

    Example: attncli info --model demo:encoder
    """
    numbers, model_head = split_heads(head, model.model_head)
    if numbers is not None:
        raise UsageError(f"--head {numbers} selects heads of a run, info describes the whole model: leave it out")
    # imported here: the help of the command line needs no torch
    from attncli.api.model import load
    from attncli.store import json_text

    with command_console(console) as opened:
        description = load(**load_arguments(model, model_head)).describe(model.capture)
        if console.json:
            opened.data(json_text(description))
        elif opened.to_person:
            opened.show(_table(description))
        else:
            opened.data("\n".join(f"{name}\t{value}" for name, value in _lines(description)))


def _table(description: dict[str, Any]) -> Table:
    table = blank_table("", ["name", "value"], [])
    table.title, table.show_header = None, False
    for line in _lines(description):
        add_row(table, line)
    return table


def _lines(description: dict[str, Any]) -> list[tuple[str, str]]:
    """Return name and value of each line."""
    from attncli.models.checkpoint import list_weights

    named_weights = {"initialised": description["initialised_weights"], "not used": description["unused_weights"]}
    positions, capture, reason = (description[name] for name in ("max_positions", "capture", "class_reason"))
    lines = [
        ("model", description["model"]),
        ("class", f"{description['class']} ({description['architecture']}){reason and f', because {reason}'}"),
        ("parameters", f"{description['parameters']:,}"),
        ("precision", f"{description['dtype']} on {description['device']}"),
        *([("GGUF file", description["gguf"])] if description["gguf"] else []),
        ("tokenizer", description["tokenizer"]),
        ("longest input", "no fixed limit" if positions is None else f"{positions} tokens"),
        *((f"{offered['kind']} attention", _layers_and_heads(offered)) for offered in description["attention"]),
        ("capture", f"{capture['route']}: {capture['reason']}"),
        *((label, f"{len(names)} weights: {list_weights(names)}") for label, names in named_weights.items() if names),
        *(("left out", f"{refused['layer']}: {refused['reason']}") for refused in description["refused"]),
    ]
    return [(name, str(value)) for name, value in lines]


def _layers_and_heads(offered: dict[str, Any]) -> str:
    from attncli.data.grouped_heads import GroupedHeads
    from attncli.data.selection import format_ranges

    layers, heads = offered["layers"], offered["heads"]
    text = f"{len(layers)} layers ({format_ranges(layers)}) x {heads} heads"
    if offered["key_value_heads"] not in (None, heads):
        text += f", {offered['key_value_heads']} key/value heads"
        if isinstance(heads, int) and isinstance(shared := offered["key_value_heads"], int):
            text += f": {GroupedHeads({(offered['kind'], 0): (heads, shared)}).describe([offered['kind']])}"
    return text
