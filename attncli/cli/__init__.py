"""The command line: `main` runs it and turns every error into one line and an exit code.

A file `cli/commands/<name>.py` is the command `<name>`: a function of the same name whose docstring is its help.
"""

import contextlib
import io
import logging
import os
import re
import sys
import traceback
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.metadata import version
from typing import Annotated, Any

import typer
import typer.core
import typer.main

from attncli import registry
from attncli.cli.command_table import (
    OptionsCommand,
    all_commands,
    built_in,
    keep_brackets,
    panel_of,
    plugin_studies,
    study_at_fault,
    with_flat_options,
)
from attncli.cli.console import log_to_stderr, print_error
from attncli.cli.streams import safe_streams, silence
from attncli.errors import (
    AttnError,
    CheckError,
    UsageError,
    check_docstrings,
    did_you_mean,
    is_out_of_files,
    is_out_of_memory,
)
from attncli.process import interruption, raise_on_signals, restore_signals
from attncli.wording import named_as_flags

_COMPLETE = "_ATTNCLI_COMPLETE"
_click_error = next(cls for cls in typer.BadParameter.__mro__ if cls.__name__ == "ClickException")


class _Commands(typer.core.TyperGroup):
    """Commands whose unknown names are errors like all others."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and args[0] not in self.commands:
            raise UsageError(f"unknown command '{args[0]}': {did_you_mean(args[0], self.commands)}")
        return super().resolve_command(ctx, args)

    def list_commands(self, ctx: Any) -> list[str]:
        return list(self.commands)


@cache
def build(only: str | None = None) -> Any:
    """Return the command `attncli` with all its subcommands, or with this one of our own, which takes less time."""
    app = typer.Typer(
        cls=_Commands,
        context_settings={"help_option_names": ["--help", "-h"]},
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        no_args_is_help=False,
        invoke_without_command=True,
    )

    @app.callback()
    def attncli(
        context: typer.Context,
        version: Annotated[
            bool, typer.Option("--version", help="show versions and exit", callback=_print_version, is_eager=True)
        ] = False,
    ) -> None:
        """See and measure the attention heads of Hugging Face models.

        Example: attncli find --text "The cat sat on the mat." --query sat --key cat
        """
        if context.invoked_subcommand is None:
            print(context.get_help())

    for name, command in (all_commands() if only is None else {only: built_in(only)}).items():
        app.command(name, cls=OptionsCommand, rich_help_panel=panel_of(name))(with_flat_options(command))
    group: Any = typer.main.get_command(app)
    for command in (group, *group.commands.values()):
        keep_brackets(command)
    return group


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code; every error ends here, in one line."""
    args = sys.argv[1:] if argv is None else list(argv)
    former = raise_on_signals()
    try:
        with safe_streams(), named_as_flags():
            return _exit_code_of(args)
    finally:
        restore_signals(former)


def _exit_code_of(args: list[str]) -> int:
    try:
        check_docstrings()
        code = _run(args)
        sys.stdout.flush()
        return code
    except BaseException as error:
        if "--debug" in args and not isinstance(error, SystemExit):
            traceback.print_exception(error)
        return _exit_code(error, args)


def _print_version(wanted: bool) -> None:
    if wanted:
        names = ("attncli", "transformers", "torch")
        print(", ".join(f"{name} {version(name)}" for name in names))
        raise typer.Exit


def _run(args: list[str]) -> int:
    completes = _COMPLETE in os.environ
    with _plugins_on_stderr(bool({"--quiet", "-q"} & {*args}), completes):
        plugin_studies()  # warns of those that cannot be loaded
        alone = not completes and bool(args) and args[0] in registry.names("cli.commands")
        command = build(args[0]) if alone else build()
        if completes:
            registry.names("metrics")  # loads metrics of other packages, which may print
    if completes:
        with log_to_stderr(logging.ERROR):
            return int(command.main(args, prog_name="attncli", complete_var=_COMPLETE, standalone_mode=False) or 0)
    try:
        with command.make_context("attncli", args) as context:
            command.invoke(context)
    except typer.Exit as stop:
        return stop.exit_code
    return 0


@contextlib.contextmanager
def _plugins_on_stderr(quiet: bool, completes: bool) -> Iterator[None]:
    """Send what plugins print while they are loaded, and warnings about them, to stderr; stdout is for data.

    Completion shows neither.
    """
    level = logging.ERROR if quiet or completes else logging.WARNING
    with log_to_stderr(level), contextlib.redirect_stdout(io.StringIO() if completes else sys.stderr):
        yield


def _exit_code(error: BaseException, args: list[str]) -> int:
    """Return the exit code of an error, and print the error if it is one."""
    # rich raises SystemExit if the reader of a pipe has gone away
    if isinstance(error, BrokenPipeError) or isinstance(error.__context__, BrokenPipeError):
        silence(sys.stdout)
        return 0
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 0
    message, code = _message_and_code(error, args)
    print_error(message, "failed" if isinstance(error, CheckError) else "error")
    return code


def _message_and_code(error: BaseException, args: list[str]) -> tuple[str, int]:
    if is_out_of_memory(error):
        return (
            "out of memory: give shorter or fewer texts (--max-tokens, --batch-tokens), fewer maps (--layer, --head, "
            "--aggregate mean), a smaller --dtype such as bfloat16, or another --device; "
            "the files that were written are complete"
        ), 3
    if is_out_of_files(error):
        return "too many open files: allow more, such as ulimit -n 1024; the files that were written are complete", 3
    if isinstance(error, AttnError):
        return str(error), error.exit_code
    if isinstance(error, KeyboardInterrupt | typer.Abort):
        return interruption(error)
    if isinstance(error, _click_error):
        return _usage_message(error, args), 2
    what = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if (study := study_at_fault(error)) is not None:
        package = registry.package_of("studies", study)
        return f"study '{study}' of package {package} failed with {what}; repair the package (--debug shows where)", 2
    return f"unexpected {what} (a defect of attncli; --debug shows where)", 1


def _usage_message(error: Any, args: list[str]) -> str:
    """Return Typer's message about wrong options, in the form of our own errors."""
    context = getattr(error, "ctx", None)
    path = f"attncli {args[0]}" if args and args[0] in all_commands() else "attncli"
    if unknown := getattr(error, "option_name", None) if type(error).__name__ == "NoSuchOption" else None:
        known = [name for parameter in context.command.params for name in parameter.opts] if context else []
        hint = did_you_mean(unknown, known)
        hint = hint if hint.startswith("did") else f"see {path} --help"
        return f"unknown option '{unknown}' of {path}: {hint}"
    message = re.sub(r"\s+", " ", error.format_message()).strip().rstrip(".")
    message = f"{message[:1].lower()}{message[1:]}"
    if message.startswith("got unexpected extra argument") and {"--file", "-f"} & {*args}:
        return f"{message}: put a pattern such as 'corpus/*.txt' in quotes"
    return f"{message}; see {path} --help"
