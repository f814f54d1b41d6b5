"""`attncli highlight`: attention painted on the text itself."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from attncli.cli.console import CommandConsole, command_console
from attncli.cli.groups.focus import FocusOptions
from attncli.cli.invocations import job_of
from attncli.errors import UsageError
from attncli.options import (
    ConsoleOptions,
    InputOptions,
    ModelOptions,
    OutputOptions,
    SavedRunOptions,
    SelectionOptions,
    typed,
)
from attncli.studies.highlight.terminal import painted_text

if TYPE_CHECKING:
    from attncli.engine.invocation import Invocation
    from attncli.studies.highlight.page import HighlightPage

_SOME_WORDS = 8
MEAN_NOTE = "this is the mean over all layers and heads: --layer and --head choose among them"


def highlight(
    model: ModelOptions,
    texts: InputOptions,
    selection: SelectionOptions,
    files: OutputOptions,
    talk: ConsoleOptions,
    again: SavedRunOptions,
    looked: FocusOptions,
) -> None:
    """Paint attention on the text itself.

    Behind each token a colour says how much attention goes to it from --focus, or with --direction to, how much of its
    own it gives to the focus. The focus is a word (all its places, a line each), it#2 for the second of them, the
    position of a token, a special token such as [CLS], or all for a line each. From a word of several tokens it is
    the mean over them, to it the sum.

    Nothing selected: the mean over all layers and heads. Several layers or heads: a line each; --aggregate mean combines
    them. Files are called KIND-L03-H01-it.html and .svg; with --direction to KIND-L03-H01-to-it. On a terminal, shows
    the text in colour; in a pipe, prints the path of each file. Only the rows of the focus are kept, so that a text of
    any length will do.

    Example: attncli highlight --text "The cat sat on the mat because it was warm." --focus it --layer 1 --head 0
    """
    from attncli.engine.focus import FocusRequest
    from attncli.engine.invocation import choose_formats
    from attncli.store import json_text
    from attncli.studies.highlight.job import looking_at, paint
    from attncli.studies.highlight.page import FORMATS

    formats = choose_formats(files.format, FORMATS, () if files.format else ("html", "svg"))
    with command_console(talk) as say:
        more = {"focus": looked.focus, "direction": looked.direction, "format": formats}
        job = job_of("highlight", (model, texts, selection, files, again), typed(looked), more, {})
        if looked.focus is None:
            raise UsageError(f"--focus is missing: it says which word to look from{_words(job)}")
        looking = FocusRequest(looked.focus, looked.direction)  # type: ignore[arg-type]
        mean = (selection.layer, selection.head) == (None, None) and not job.request.combined
        job = looking_at(job, looking, mean=mean)
        done = paint(job, formats, say.track, lambda path: _one_path(say, path), lambda page: _show(say, page))
        say.notes((*done.notes, MEAN_NOTE) if mean else done.notes)
        if talk.json:
            say.data(json_text(done.manifest))
        for path in job.folder.written:
            say.wrote(path)


def _words(job: Invocation) -> str:
    """Some words that could be the focus."""
    from attncli.engine.collected import Collected

    texts = [one.text for one in job.source.inputs] if isinstance(job.source, Collected) else list(job.texts)
    words = list(dict.fromkeys(re.findall(r"\w+", texts[0].text if texts else "")))
    if not words:
        return ""
    more = ", …" if words[_SOME_WORDS:] else ""
    return f", such as --focus {words[0]}; the text has {', '.join(words[:_SOME_WORDS])}{more}"


def _one_path(say: CommandConsole, path: object) -> None:
    if not say.to_person and not say.options.json:
        say.data(str(path))


def _show(say: CommandConsole, page: HighlightPage) -> None:
    """For a person: the text in colour."""
    if say.to_person:
        say.show(*painted_text(page))
