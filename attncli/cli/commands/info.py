"""`attncli info`: what a model offers, before it is run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from attncli.cli.console import command_console
from attncli.cli.invocations import load_arguments, split_heads
from attncli.errors import UsageError
from attncli.options import ConsoleOptions, ModelOptions

if TYPE_CHECKING:
    from rich.table import Table


def info(
    model: ModelOptions,
    talk: ConsoleOptions,
    head: Annotated[
        list[str] | None,
        typer.Option("--head", metavar="NAME", help="the same as --model-head", rich_help_panel="Model"),
    ] = None,
) -> None:
    """Say what a model offers before running it.

    Its class, parameters, layers and heads of each kind of attention, key/value heads, longest input, and how its
    attention will be caught and why.

    Example: attncli info --model demo:encoder
    """
    numbers, model_head = split_heads(head, model.model_head)
    if numbers is not None:
        raise UsageError(f"--head {numbers} chooses heads of a run, info is about the whole model: leave it out")
    from attncli.api.model import load
    from attncli.store import json_text

    with command_console(talk) as say:
        described = load(**load_arguments(model, model_head)).describe(model.capture)
        if talk.json:
            say.data(json_text(described))
        elif say.to_person:
            say.show(_table(described))
        else:
            say.data("\n".join(f"{name}\t{value}" for name, value in _lines(described)))


def _table(described: dict[str, Any]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(show_header=False, title=Text(described["model"]), title_justify="left")
    for name, value in _lines(described):
        table.add_row(Text(name), Text(value))
    return table


def _lines(described: dict[str, Any]) -> list[tuple[str, str]]:
    """Name and value, line by line."""
    lines = [
        ("model", described["model"]),
        ("class", f"{described['class']} ({described['architecture']})"),
        ("parameters", f"{described['parameters']:,}"),
        ("precision", f"{described['dtype']} on {described['device']}"),
        ("tokenizer", described["tokenizer"]),
        ("longest input", _longest(described["max_positions"])),
    ]
    for offered in described["attention"]:
        lines.append((f"{offered['kind']} attention", _offered(offered)))
    capture = described["capture"]
    lines.append(("capture", f"{capture['route']}: {capture['reason']}"))
    lines += [("left out", f"{refused['layer']}: {refused['reason']}") for refused in described["refused"]]
    return [(name, str(value)) for name, value in lines]


def _longest(positions: int | None) -> str:
    return "no fixed limit" if positions is None else f"{positions} tokens"


def _offered(offered: dict[str, Any]) -> str:
    from attncli.data.selection import format_ranges

    layers, heads = offered["layers"], offered["heads"]
    text = f"{len(layers)} layers ({format_ranges(layers)}) x {heads} heads"
    if offered["key_value_heads"] not in (None, heads):
        text += f", {offered['key_value_heads']} key/value heads"
    return text
