"""What is said, and where: data on stdout, everything else on stderr."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TextIO

from attncli.options import ConsoleOptions
from attncli.terminal.escape import escaped

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

_log = logging.getLogger("attncli")
MOST_NOTES = 8
NOTE = (logging.INFO + logging.WARNING) // 2


@dataclass(frozen=True)
class CommandConsole:
    """The two streams of one command. `stdout` is for data; a reader that goes away does not stop the work."""

    options: ConsoleOptions
    stdout: TextIO

    @property
    def to_person(self) -> bool:
        """Whether a person reads stdout, and no program."""
        return self.stdout.isatty() and not self.options.json

    def data(self, text: str) -> None:
        """What a program reads; also what was asked for with --json."""
        try:
            _put(self.stdout, text if text.endswith("\n") else text + "\n")
        except BrokenPipeError:
            forget(self.stdout)

    def wrote(self, path: object) -> None:
        """A file is there: a `Wrote …` line for a person."""
        if self.to_person and not self.options.quiet:
            self.data(f"Wrote {escaped(str(path))}")

    def show(self, *things: RenderableType) -> None:
        """Tables for a person."""
        if self.options.quiet:
            return
        console = self._console(self.stdout)
        for thing in things:
            console.print(thing)

    def result(
        self,
        document: Callable[[], str],
        table: Callable[[], str],
        shown: Callable[[], Iterable[RenderableType]],
        written: Iterable[object],
    ) -> None:
        """What was asked for: the one document, or tables and `Wrote …` lines for a person, else the main table."""
        if self.options.json:
            self.data(document())
        elif self.to_person:
            self.show(*shown())
            for path in written:
                self.wrote(path)
        else:
            self.data(table())

    def notes(self, notes: Sequence[str]) -> None:
        """What a person should know: a few lines, all of them with --verbose."""
        shown = len(notes) if self.options.verbose else MOST_NOTES
        for note in notes[:shown]:
            _log.log(NOTE, "%s", note)
        if len(notes) > shown:
            _log.log(NOTE, "%d more such notes: --verbose shows them, manifest.json keeps them", len(notes) - shown)

    @contextlib.contextmanager
    def track(self, what: str, total: float, unit: str) -> Iterator[Callable[[float], None]]:
        """How far some work is: a bar on stderr where a person looks on, once it has taken a while."""
        if self.options.quiet or not sys.stderr.isatty():
            yield lambda done: None
            return
        from attncli.cli.progress_bar import bar

        with bar(self._console(sys.stderr), what, total, unit) as advance:
            yield advance

    def _console(self, stream: TextIO) -> Console:
        from rich.console import Console

        return Console(file=stream, markup=False, highlight=False, emoji=False, soft_wrap=False)


@contextlib.contextmanager
def command_console(options: ConsoleOptions) -> Iterator[CommandConsole]:
    """For the length of a command: what libraries print goes to stderr, and as much of it as was asked for."""
    with contextlib.ExitStack() as stack:
        talk = CommandConsole(options, sys.stdout)
        stack.enter_context(contextlib.redirect_stdout(sys.stderr))
        stack.enter_context(_logging_at(_level(options)))
        stack.enter_context(warnings.catch_warnings())
        stack.enter_context(_libraries(options))
        warnings.showwarning = _tell_warning
        if options.quiet:
            warnings.simplefilter("ignore")
        yield talk


@contextlib.contextmanager
def say_notes_once() -> Iterator[None]:
    """For the length of several commands: what one has said, the others need not."""
    before: set[str] = set()

    def is_new(record: logging.LogRecord) -> bool:
        message = record.getMessage()
        new = message not in before
        before.add(message)
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
def _logging_at(level: int) -> Iterator[None]:
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
    """`note: …` and `warning: …` as errors are `error: …`."""

    def format(self, record: logging.LogRecord) -> str:
        word = "note" if record.levelno <= NOTE else record.levelname.lower()
        return f"{word}: {escaped(record.getMessage())}"


def _tell_warning(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    # libraries warn their developers, not our users, about what will change one day
    if not issubclass(category, DeprecationWarning | PendingDeprecationWarning | FutureWarning):
        _log.warning("%s", message)


@contextlib.contextmanager
def _libraries(options: ConsoleOptions) -> Iterator[None]:
    """What Transformers and the Hub say of their own accord: nothing but errors, unless asked for."""
    wanted = {}
    if not (options.verbose or options.debug):
        wanted["TRANSFORMERS_VERBOSITY"] = "error"
    if options.quiet or not sys.stderr.isatty():
        wanted["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    # read when they are imported; what the user has set stays
    wanted = {name: value for name, value in wanted.items() if name not in os.environ}
    chatty = logging.getLogger("transformers")
    before = chatty.level
    os.environ.update(wanted)
    if "TRANSFORMERS_VERBOSITY" in wanted:
        chatty.setLevel(logging.ERROR)
    try:
        yield
    finally:
        chatty.setLevel(before)
        for name in wanted:
            os.environ.pop(name, None)


def _put(stream: TextIO, text: str) -> None:
    """Data is UTF-8 whatever the terminal's locale; names of files keep their bytes."""
    buffer = getattr(stream, "buffer", None)
    if buffer is None:
        stream.write(text)
    else:
        stream.flush()
        buffer.write(text.encode("utf-8", "surrogateescape"))
    stream.flush()


def fail(message: str) -> None:
    """The one line of an error."""
    with contextlib.suppress(BrokenPipeError):
        sys.stderr.write(f"error: {escaped(' '.join(message.split()))}\n")
        sys.stderr.flush()


def forget(stream: TextIO) -> None:
    """Nobody reads this stream any more: what is still written goes nowhere, also at exit."""
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
    except OSError as error:
        if error.errno not in (errno.EBADF, errno.ENOTSUP, None):
            raise
