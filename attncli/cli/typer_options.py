"""Turn the option groups of a command into options of Typer."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Annotated, Any, get_args, get_type_hints

import typer

from attncli.options import Option


def with_flat_options(command: Callable[..., None]) -> Callable[..., None]:
    """Return the command with every field of its option groups as a parameter of its own."""
    hints = get_type_hints(command, include_extras=True)
    parameters = inspect.signature(command).parameters
    groups = {name: hints[name] for name in parameters if is_dataclass(hints[name])}
    options: dict[str, inspect.Parameter] = {}
    for name, parameter in parameters.items():
        if name in groups:
            options |= _options_of(groups[name])
        else:
            options[name] = parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)

    def flat_command(**values: Any) -> None:
        filled = {
            name: group(**{field.name: values.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        command(**filled, **values)

    # Typer keeps the line breaks of the source; paragraphs are filled by the terminal instead
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    flat_command.__doc__ = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    flat_command.__name__ = command.__name__
    flat_command.__annotations__ = {name: option.annotation for name, option in options.items()}
    flat_command.__signature__ = inspect.Signature(list(options.values()))  # type: ignore[attr-defined]
    return flat_command


@cache
def _options_of(group: type) -> dict[str, inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    parameters = {}
    for field in fields(group):
        kind, option = get_args(hints[field.name])
        parameters[field.name] = inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=Annotated[kind, _typer_option(option)],
        )
    return parameters


def _typer_option(option: Option) -> Any:
    return typer.Option(
        *option.names,
        metavar=option.metavar,
        help=option.help,
        rich_help_panel=option.panel,
        autocompletion=option.values if option.completes else None,
        show_default=False,
    )
