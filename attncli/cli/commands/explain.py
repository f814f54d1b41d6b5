"""`attncli explain`: the reference page of everything that has a name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from attncli import errors, registry
from attncli.cli.command_table import all_commands
from attncli.cli.console import command_console
from attncli.cli.help_pages import WIDTH, help_pages, plain_text
from attncli.errors import AttnError, UsageError, did_you_mean
from attncli.options import ConsoleOptions
from attncli.vocabulary import PICTURE_FORMATS, TABLE_FORMATS

if TYPE_CHECKING:
    from rich.console import RenderableType

INPUT_FILES = ("config", "rules", "segments-file")
"""Pages of files that people write."""
OTHER_FILES = ("csv", "exit-codes", "maps", "pictures", "profile")
"""Pages of files and codes without a dot in their names."""


@dataclass(frozen=True)
class ReferencePage:
    """One page of the reference, as Markdown or as text with its lines."""

    text: str
    is_markdown: bool = False

    @property
    def plain(self) -> str:
        """The page without markup."""
        return plain_text(self.text) if self.is_markdown else self.text

    @property
    def summary(self) -> str:
        """The first paragraph, or the first line of a text with its own lines."""
        return " ".join(self.plain.split("\n\n" if self.is_markdown else "\n")[0].split())


def explain(
    console: ConsoleOptions,
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="what to explain; without it, all names", autocompletion=lambda: names()),
    ] = None,
) -> None:
    """Show the reference page of a metric, a class of heads, an analysis, a command, an error or a file.

    Without a name, lists all names. With --json, prints the page as a JSON document; for config and rules, which are
    the files of attncli run and attncli check, a JSON Schema for editors.

    Example: attncli explain entropy
    """
    with command_console(console) as opened:
        if console.json:
            from attncli.store import json_text

            opened.data(json_text(_document(name)))
        elif opened.to_person and not console.quiet:
            opened.show(*(_overview_tables() if name is None else _terminal_pages(name)))
        else:
            opened.data(_overview() if name is None else page(name))


def names() -> list[str]:
    """Return everything that has a page."""
    return list(dict.fromkeys(name for group in _groups().values() for name in group))


def page(name: str) -> str:
    """Return the page of a name as plain text; raise UsageError with close names if there is none."""
    name = _with_page(name)
    return "\n\n".join([name, *(found.plain for found in _pages(name))])


def _with_page(name: str) -> str:
    """Return the name, or of a table or picture without a page the file that has one: `find.json` for `find.csv`.

    The tables of all series have one page.
    """
    known = names()
    stem, dot, suffix = name.rpartition(".")
    if name in known or not dot or suffix not in (*TABLE_FORMATS, *PICTURE_FORMATS):
        return name
    if stem.endswith("-series"):
        return "series.json"
    return next((other for other in known if other.rpartition(".")[0] == stem), name)


def _pages(name: str) -> list[ReferencePage]:
    """Return the pages of a name: a metric and a class of heads may have the same name."""
    pages = [group[name](name) for group in _groups().values() if name in group]
    if not pages:
        raise UsageError(f"nothing is called '{name}': {did_you_mean(name, names())}")
    return pages


def _groups() -> dict[str, dict[str, Callable[[str], ReferencePage]]]:
    """Return what makes the page of each name, by group of names."""
    # imported here: the help of the command line needs no NumPy
    from attncli.studies.patterns.result import CLASSES
    from attncli.studies.repeated.result import SCORES

    written = help_pages()
    inputs = [name for name in written if name in INPUT_FILES]
    files = [name for name in written if name not in INPUT_FILES and (name in OTHER_FILES or "." in name)]
    analyses = [name for name in written if name not in (*inputs, *files)]
    return {
        "Metrics": dict.fromkeys(registry.names("metrics"), _metric_page),
        "Classes and scores of heads": dict.fromkeys([*CLASSES, *SCORES], _class_page),
        "Analyses": dict.fromkeys(analyses, _written_page),
        "Commands": dict.fromkeys(sorted(all_commands()), _command_page),
        "Files that you write": dict.fromkeys(inputs, _written_page),
        "Files that attncli writes, and exit codes": dict.fromkeys(files, _written_page),
        "Errors": dict.fromkeys(_errors(), _error_page),
    }


def _document(name: str | None) -> dict[str, Any]:
    """Return the JSON document of a page, or the JSON Schema of a file that people write."""
    # imported here: the help needs no pydantic
    if name == "config":
        from attncli.cli.config.shape import config_schema

        return config_schema()
    if name == "rules":
        from attncli.cli.config.rules import rules_schema

        return rules_schema()
    return {"schema": "attncli.page/1", "name": name or "", "page": _overview() if name is None else page(name)}


def _written_page(name: str) -> ReferencePage:
    text = help_pages()[name]
    if name == "config":
        from attncli.cli.config.shape import config_keys

        text = f"{text}\n\n{config_keys()}"
    return ReferencePage(text, is_markdown=True)


def _metric_page(name: str) -> ReferencePage:
    return ReferencePage(str(registry.module("metrics", name).METRIC.page))


def _class_page(name: str) -> ReferencePage:
    """Return the page of a class of heads, or of a score on repeated tokens."""
    from attncli.studies.patterns import classes as patterns
    from attncli.studies.repeated import compute as repeated

    return ReferencePage((patterns.pages() | repeated.pages())[name])


def _command_page(name: str) -> ReferencePage:
    return ReferencePage(f"{inspect.getdoc(all_commands()[name])}\n\nAll options: attncli {name} --help")


def _errors() -> dict[str, type[AttnError]]:
    values = vars(errors).values()
    return {kind.__name__: kind for kind in values if inspect.isclass(kind) and issubclass(kind, AttnError)}


def _error_page(name: str) -> ReferencePage:
    kind = _errors()[name]
    return ReferencePage(f"{inspect.getdoc(kind)}\n\nExit code {kind.exit_code}.")


def _overview() -> str:
    parts = []
    for title, lines in _summaries().items():
        width = max(map(len, lines))
        parts.append("\n".join([title, *(f"  {name:{width}}  {line}" for name, line in lines.items())]))
    return "\n\n".join([*parts, "attncli explain NAME shows the page."])


def _overview_tables() -> Iterator[RenderableType]:
    from rich.table import Table
    from rich.text import Text

    for title, lines in _summaries().items():
        table = Table(title=Text(title), title_justify="left", box=None, show_header=False, title_style="bold")
        for name, line in lines.items():
            table.add_row(Text(name, no_wrap=True), Text(line))
        yield table
        yield ""
    yield Text("attncli explain NAME shows the page.")


def _terminal_pages(name: str) -> Iterator[RenderableType]:
    from rich.constrain import Constrain
    from rich.markdown import Markdown
    from rich.text import Text

    name = _with_page(name)
    for found in _pages(name):
        yield Text(f"{name}\n", style="bold")
        # text with its own lines may be wider than the lines of Markdown
        yield Constrain(Markdown(found.text), WIDTH) if found.is_markdown else Text(found.text)
        yield ""


def _summaries() -> dict[str, dict[str, str]]:
    """Return the summary of each page by name, by group."""
    return {title: {name: make(name).summary for name, make in group.items()} for title, group in _groups().items()}
