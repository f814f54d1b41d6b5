"""What a command prints: data on stdout, everything else on stderr."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from attncli.cli.streams import silence, write_utf8
from attncli.engine.costs import NOTE
from attncli.errors import LONGEST_ERROR, shortened
from attncli.options import ConsoleOptions
from attncli.terminal import escaped, unwrapped

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_log = logging.getLogger("attncli")
MOST_NOTES = 8
_COMMAND = re.compile(r"(?:^|(?<=[\r\n]))([^\S\r\n]*)::|##\[")


@dataclass(frozen=True)
class CommandConsole:
    """The two streams of one command; `stdout` is for data, and the command goes on if its reader goes away."""

    options: ConsoleOptions
    stdout: TextIO

    @property
    def to_person(self) -> bool:
        """Whether a person reads stdout, not a program."""
        return self.stdout.isatty() and not self.options.json

    def data(self, text: str) -> None:
        """Print data on stdout, for a program or because of --json."""
        try:
            text = without_commands(text)
            write_utf8(self.stdout, text if text.endswith("\n") else text + "\n")
        except BrokenPipeError:
            silence(self.stdout)

    def wrote(self, path: object) -> None:
        """Print `Wrote PATH` for a person."""
        if self.to_person and not self.options.quiet:
            self.data(f"Wrote {escaped(str(path))}")

    def show(self, *tables: RenderableType) -> None:
        """Print tables for a person."""
        if self.options.quiet:
            return
        console = self._console(self.stdout)
        for table in tables:
            console.print(*unwrapped(table), sep="\n")

    def notes(self, notes: Sequence[str]) -> None:
        """Print notes on stderr: the first few, all of them with --verbose."""
        shown = len(notes) if self.options.verbose else MOST_NOTES
        for note in notes[:shown]:
            print_note(note)
        if len(notes) > shown:
            _log.log(NOTE, "%d more such notes: --verbose shows them, manifest.json keeps them", len(notes) - shown)

    @contextlib.contextmanager
    def track(self, what: str, total: float, unit: str) -> Iterator[Callable[[float], None]]:
        """Show progress as a bar on stderr if that is a terminal; the caller reports each step done."""
        if self.options.quiet or not sys.stderr.isatty():
            yield lambda steps: None
            return
        # imported here: the help needs no progress bar
        from attncli.cli.progress_bar import progress_bar

        with progress_bar(self._console(sys.stderr), what, total, unit) as advance:
            yield advance

    def _console(self, stream: TextIO) -> Console:
        from rich.console import Console

        return Console(file=stream, markup=False, highlight=False, emoji=False, soft_wrap=False)


def print_note(note: str) -> None:
    """Print a note on stderr, inside of a command."""
    _log.log(NOTE, "%s", note)


@contextlib.contextmanager
def command_console(options: ConsoleOptions) -> Iterator[CommandConsole]:
    """Open the console of one command; until it ends, everything that libraries print goes to stderr."""
    with contextlib.ExitStack() as stack:
        console = CommandConsole(options, sys.stdout)
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        stack.enter_context(log_to_stderr(_level(options)))
        stack.enter_context(warnings.catch_warnings())
        stack.enter_context(_quiet_libraries(options))
        warnings.showwarning = _log_warning
        if options.quiet:
            warnings.simplefilter("ignore")
        yield console


@contextlib.contextmanager
def each_note_once() -> Iterator[None]:
    """Print each note only once, however many commands run within."""
    printed: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        new = message not in printed
        printed.add(message)
        return new

    _log.addFilter(is_new)
    try:
        yield
    finally:
        _log.removeFilter(is_new)


def _level(options: ConsoleOptions) -> int:
    if options.debug:
        return logging.DEBUG
    if options.quiet:
        return logging.ERROR
    return logging.INFO if options.verbose else NOTE


@contextlib.contextmanager
def log_to_stderr(level: int) -> Iterator[None]:
    """Print log messages of attncli from this level on to stderr; at ERROR, none of any library below it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Line())
    before = _log.level, _log.propagate, logging.root.manager.disable
    if level == logging.ERROR:
        logging.disable(logging.WARNING)
    _log.addHandler(handler)
    _log.setLevel(level)
    _log.propagate = False
    try:
        yield
    finally:
        _log.removeHandler(handler)
        _log.setLevel(before[0])
        _log.propagate = before[1]
        logging.disable(before[2])


class _Line(logging.Formatter):
    """The format of messages: `note: …` and `warning: …`, like `error: …`."""

    def format(self, record: logging.LogRecord) -> str:
        word = "note" if record.levelno <= NOTE else record.levelname.lower()
        return without_commands(f"{word}: {escaped(record.getMessage())}")


def _log_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    # these warnings of libraries are meant for developers, not for our users
    if not issubclass(category, DeprecationWarning | PendingDeprecationWarning | FutureWarning):
        _log.warning("%s", message)


@contextlib.contextmanager
def _quiet_libraries(options: ConsoleOptions) -> Iterator[None]:
    """Let Transformers and the Hub print errors only, unless --verbose or --debug is given."""
    wanted = {}
    if not (options.verbose or options.debug):
        wanted["TRANSFORMERS_VERBOSITY"] = "error"
    if options.quiet or not sys.stderr.isatty():
        wanted["HF_HUB_DISABLE_PROGRESS_BARS"] = wanted["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    # libraries read these when they are imported; values that the user has set stay
    wanted = {name: value for name, value in wanted.items() if name not in os.environ}
    transformers_log = logging.getLogger("transformers")
    before = transformers_log.level
    os.environ.update(wanted)
    if "TRANSFORMERS_VERBOSITY" in wanted:
        transformers_log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        transformers_log.setLevel(before)
        for name in wanted:
            os.environ.pop(name, None)


def without_commands(text: str) -> str:
    """Return a text whose lines GitHub Actions, if it runs this process, does not take for commands.

    It obeys `::name::` at the start of a line and `##[name]` anywhere, also where that is a token or a label.
    """
    if os.environ.get("GITHUB_ACTIONS") != "true":
        return text
    return _COMMAND.sub(lambda match: f"{match[1]}\\u003a:" if match[1] is not None else "#\\u0023[", text)


def print_error(message: str, label: str = "error") -> None:
    """Print an error as one line on stderr, or another message that ends a command, after its label."""
    line = shortened(f"{label}: {escaped(' '.join(message.split()))}", LONGEST_ERROR)
    sys.stderr.write(f"{without_commands(line)}\n")
    sys.stderr.flush()
