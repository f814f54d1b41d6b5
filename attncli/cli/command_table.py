"""All commands: our own, one a file in `cli/commands`, and one for each study of another package."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from functools import cache
from typing import Any, get_type_hints

import typer
import typer.main

from attncli import registry
from attncli.cli.invocations import CommonOptions
from attncli.cli.run_study import run_study
from attncli.cli.typer_options import with_flat_options
from attncli.engine.study import Study
from attncli.errors import UsageError
from attncli.options import (
    ConsoleOptions,
    InputOptions,
    ModelOptions,
    OutputOptions,
    SavedRunOptions,
    SelectionOptions,
)

Command = Callable[..., None]
PANELS = {
    "Look": ("heatmap", "view", "highlight"),
    "Measure": ("stats", "patterns", "heads", "flow", "segments", "compare"),
    "Automate": ("run", "check"),
    "Reference": ("info", "explain"),
}
"""Commands by heading of the help; those that are not named here come last, under `OTHERS`."""
OTHERS, PLUGINS = "More", "Plugins"


@cache
def commands() -> Mapping[str, Command]:
    """Return the functions of all commands by name, in the order of the help."""
    own = {name: getattr(module, name) for name, module in registry.modules("cli.commands").items()}
    listed = [name for panel in PANELS.values() for name in panel if name in own]
    added = {name: study_command(study) for name, study in plugin_studies().items()}
    return {**{name: own[name] for name in dict.fromkeys([*listed, *own])}, **added}


def panel_of(name: str) -> str:
    """Return the heading of the help under which a command is listed."""
    panels = (panel for panel, names in PANELS.items() if name in names)
    return next(panels, PLUGINS if name in plugin_studies() else OTHERS)


def plugin_studies() -> Mapping[str, type[Study[Any]]]:
    """Return the studies of other packages by name."""
    return registry.plugins("studies", _check_study)


def groups_of(command: Command) -> dict[str, type]:
    """Return the option groups of a command by parameter."""
    return {name: hint for name, hint in get_type_hints(command).items() if is_dataclass(hint)}  # type: ignore[misc]


def study_command(study: type[Study[Any]]) -> Command:
    """Return the command of a study that has no file in `cli/commands`."""

    def command(
        model: ModelOptions,
        texts: InputOptions,
        selection: SelectionOptions,
        output: OutputOptions,
        console: ConsoleOptions,
        saved: SavedRunOptions,
        own: Any,
    ) -> None:
        run_study(study(own), CommonOptions(model, texts, selection, output, saved), console)

    command.__name__, command.__doc__ = study.name, inspect.cleandoc(study.__doc__ or "")
    command.__annotations__ = {**command.__annotations__, "own": study.group}
    return command


def _check_study(name: str, plugin: object) -> None:
    if name in registry.names("cli.commands"):
        raise UsageError("attncli has a command of the same name")
    if not name.replace("-", "_").isidentifier():
        raise UsageError("expected a name of letters, digits, - and _")
    if not (isinstance(plugin, type) and issubclass(plugin, Study)):
        raise UsageError(f"expected a subclass of attncli.engine.study.Study, got {plugin!r}")
    if missing := sorted(plugin.__abstractmethods__):
        raise UsageError(f"expected {plugin.__name__} to have the methods {', '.join(missing)}")
    if getattr(plugin, "name", None) != name:
        raise UsageError(f"expected {plugin.__name__}.name to be '{name}' as the entry point is called")
    # a dataclass without a docstring gets its signature as one
    if not plugin.__doc__ or plugin.__doc__.startswith(f"{plugin.__name__}("):
        raise UsageError(f"expected {plugin.__name__} to have a docstring, which is the help of its command")
    if not is_dataclass(getattr(plugin, "group", None)):
        raise UsageError(f"expected {plugin.__name__}.group to be a dataclass of options")
    plugin(plugin.group())
    app = typer.Typer(add_completion=False)
    app.command(name)(with_flat_options(study_command(plugin)))
    options = [option for parameter in typer.main.get_command(app).params for option in parameter.opts]
    if twice := sorted({option for option in options if options.count(option) > 1}):
        raise UsageError(f"expected options that no other option group has, got {', '.join(twice)} twice")
