"""All commands: our own, one a file in `cli/commands`, and one for each study of another package.

A command takes option groups and is turned into a command of Typer with an option for each field of these groups.
"""

import inspect
import re
import traceback
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Annotated, Any, get_type_hints

import typer
import typer.core
import typer.main

from attncli import registry
from attncli.cli.run_study import CommonOptions, run_study
from attncli.corpus_options import CorpusOptions
from attncli.engine.study import Study
from attncli.errors import UsageError
from attncli.options import Option, PictureOptions

Command = Callable[..., None]
PANELS = {
    "Look": ("find", "heatmap", "view", "highlight", "qk-map"),
    "Measure": ("stats", "patterns", "heads", "flow", "segments", "compare"),
    "Test": ("importance", "attribute", "faithfulness", "knockout", "prune"),
    "Automate": ("run", "check", "log"),
    "Reference": ("info", "explain"),
}
"""Commands by heading of the help; those that are not named here come last, under `OTHERS`."""
OTHERS, PLUGINS = "More", "Plugins"
_MARKUP = re.compile(r"(\\*)(\[[a-z#/@][^\[]*?\])")
"""What rich would take for markup, such as `[analyses]`, with the backslashes before it."""


class OptionsCommand(typer.core.TyperCommand):
    """A command made by `with_flat_options`: it accepts former names of its options, which its help does not show."""

    def make_parser(self, ctx: Any) -> Any:
        """Return the parser of the command line, with the former names too."""
        parser = super().make_parser(ctx)
        for parameter in self.params:
            former = getattr(self.callback, "former_names", {}).get(parameter.name)
            if former:
                parser.add_option(parameter, former, dest=parameter.name)  # type: ignore[arg-type]
        return parser


def keep_brackets(command: Any) -> None:
    """Escape the help of a command and of its parameters: Typer reads `[analyses]` as markup and leaves it out."""
    for shown in (command, *command.params):
        if getattr(shown, "help", None):
            shown.help = _MARKUP.sub(r"\1\1\\\2", shown.help)


@cache
def all_commands() -> Mapping[str, Command]:
    """Return the functions of all commands by name, in the order of the help."""
    ours = {name: built_in(name) for name in registry.modules("cli.commands")}
    listed = [name for panel in PANELS.values() for name in panel if name in ours]
    added = {name: study_command(study) for name, study in plugin_studies().items()}
    return {**{name: ours[name] for name in dict.fromkeys([*listed, *ours])}, **added}


def built_in(name: str) -> Command:
    """Return the function of one of our own commands."""
    command: Command = getattr(registry.module("cli.commands", name), name.replace("-", "_"))
    return command


def panel_of(name: str) -> str:
    """Return the heading of the help under which a command is listed."""
    panels = (panel for panel, names in PANELS.items() if name in names)
    return next(panels, PLUGINS if name in plugin_studies() else OTHERS)


def plugin_studies() -> Mapping[str, type[Study[Any]]]:
    """Return the studies of other packages by name."""
    return registry.plugins("studies", _check_study)


def study_at_fault(error: BaseException) -> str | None:
    """Return the name of the study of another package in whose code an error was raised; None if there is none."""
    lines = traceback.walk_tb(error.__traceback__)
    packages = {frame.f_globals.get("__name__", "").partition(".")[0] for frame, _ in lines}
    studies = plugin_studies().items()
    return next((name for name, study in studies if study.__module__.partition(".")[0] in packages), None)


@cache
def study_commands() -> Mapping[str, list[type]]:
    """Return the commands that run a study, sorted, with the option groups that are not common to all of them.

    Options of corpora are left out: the texts of a file of steps are read once, for all steps.
    """
    hints = {name: [*get_type_hints(command).values()] for name, command in sorted(all_commands().items())}
    return {
        name: [hint for hint in of_command if is_dataclass(hint) and hint not in (CommonOptions, CorpusOptions)]  # type: ignore[misc]
        for name, of_command in hints.items()
        if CommonOptions in of_command
    }


def study_command(study: type[Study[Any]]) -> Command:
    """Return the command of a study that has no file in `cli/commands`."""

    def command(common: CommonOptions, options: Any, pictures: PictureOptions) -> None:
        run_study(study(options), common, pictures)

    def command_without_pictures(common: CommonOptions, options: Any) -> None:
        run_study(study(options), common)

    made: Command = command if study.formats.draws else command_without_pictures
    made.__name__, made.__doc__ = study.name, inspect.cleandoc(study.__doc__ or "")
    made.__annotations__ = {**made.__annotations__, "options": study.group}
    return made


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


def with_flat_options(command: Command) -> Command:
    """Return the command with every field of its option groups as a parameter of its own."""
    hints = get_type_hints(command, include_extras=True)
    left_out = _left_out(hints)
    options: dict[str, inspect.Parameter] = {}
    for name, parameter in inspect.signature(command).parameters.items():
        if is_dataclass(hints[name]):
            options |= _options_of(hints[name], left_out)
        else:
            options[name] = parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)

    def flat_command(**values: Any) -> None:
        command(**_filled(hints, values, left_out))

    # Typer keeps the line breaks of the source; paragraphs are filled by the terminal instead
    paragraphs = inspect.cleandoc(command.__doc__ or "").split("\n\n")
    flat_command.__doc__ = "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    flat_command.__name__ = command.__name__
    flat_command.__annotations__ = {name: option.annotation for name, option in options.items()}
    flat_command.__signature__ = inspect.Signature(list(options.values()))  # type: ignore[attr-defined]
    flat_command.former_names = _former_names(hints)  # type: ignore[attr-defined]
    return flat_command


def _declared(hints: Mapping[str, Any]) -> Iterator[tuple[str, Option]]:
    """Yield the options of all groups among these types and in them, with their fields."""
    for group in filter(is_dataclass, hints.values()):
        yield from _declared(get_type_hints(group))
        for field in fields(group):
            if option := field.metadata.get("option"):
                yield field.name, option


def _left_out(hints: Mapping[str, Any]) -> frozenset[str]:
    """Return the fields whose option is left out, as a group of the command has another option of this name."""
    declared = list(_declared(hints))
    own = {name for name, option in declared if not option.yields}
    return frozenset(name for name, option in declared if option.yields and name in own)


@cache
def _options_of(group: type, left_out: frozenset[str]) -> dict[str, inspect.Parameter]:
    """Return the parameters of a group, or of all groups in a group, without those that are left out."""
    hints = get_type_hints(group)
    parameters: dict[str, inspect.Parameter] = {}
    for field in fields(group):
        name, hint = field.name, hints[field.name]
        if is_dataclass(hint):
            parameters |= _options_of(hint, left_out)  # type: ignore[arg-type]
        elif (option := field.metadata.get("option")) and not (option.yields and name in left_out):
            typer_option: Any = typer.Option(
                *option.all_names(name),
                metavar=option.metavar or "|".join(filter(None, (*option.choices, option.file_value))) or None,
                help=option.help,
                rich_help_panel=option.panel,
                autocompletion=option.values if option.complete or option.choices else None,
                show_default=False,
            )
            annotation: Any = Annotated[hint, typer_option]
            parameters[name] = inspect.Parameter(
                name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=annotation
            )
    return parameters


def _former_names(hints: Mapping[str, Any]) -> dict[str, list[str]]:
    """Return the former long names of options by parameter, for the hints of a command or of a group."""
    return {name: list(option.former) for name, option in _declared(hints) if option.former}


def _filled(hints: Mapping[str, Any], values: Mapping[str, Any], left_out: frozenset[str]) -> dict[str, Any]:
    """Return the value of each parameter or field, by its type: groups are made of the values of their fields."""
    return {
        name: _group(hint, values, left_out) if is_dataclass(hint) else values[name]
        for name, hint in hints.items()
        if name in values or is_dataclass(hint)
    }


def _group(group: Any, values: Mapping[str, Any], left_out: frozenset[str]) -> Any:
    """Return a group made of the values of its fields; those whose option is left out have their defaults."""
    yielding = {name for name, option in _declared({"": group}) if option.yields} & left_out
    given = {name: value for name, value in values.items() if name not in yielding}
    return group(**_filled(get_type_hints(group), given, left_out))
