"""`attncli explain`: the reference page of anything that has a name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Annotated, Any

import typer

from attncli import registry
from attncli.cli.console import command_console
from attncli.cli.pages import ANALYSES, PAGES, analysis_page, error_pages
from attncli.errors import UsageError, did_you_mean
from attncli.options import ConsoleOptions


def explain(
    talk: ConsoleOptions,
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="what to explain; without it, all names", autocompletion=lambda: names()),
    ] = None,
) -> None:
    """Show the reference page of a metric, a class of heads, an analysis, a command, an error or an output file.

    Without a name, lists all that there is. With --json the page as a JSON document; of config and
    rules, the files that attncli run and check read, a JSON Schema for editors.

    Example: attncli explain entropy
    """
    with command_console(talk) as say:
        text = _overview() if name is None else page(name)
        if talk.json:
            from attncli.store import json_text

            schema = _schemas().get(name or "")
            say.data(json_text(schema() if schema else {"schema": "attncli.page/1", "name": name or "", "page": text}))
        else:
            say.data(text)


def names() -> list[str]:
    """Everything that has a page."""
    return list(dict.fromkeys(name for group in _groups().values() for name in group))


def page(name: str) -> str:
    """The page of a name; an unknown one is a `UsageError` with close names."""
    pages = [group[name](name) for group in _groups().values() if name in group]
    if pages:
        return "\n\n".join([name, *pages])
    raise UsageError(f"nothing is called '{name}': {did_you_mean(name, names())}")


def _groups() -> dict[str, dict[str, Callable[[str], str]]]:
    from attncli.studies.patterns.result import CLASSES
    from attncli.studies.repeated.result import SCORES

    return {
        "Metrics": dict.fromkeys(registry.names("metrics"), _metric),
        "What heads do": dict.fromkeys([*CLASSES, *SCORES], _behaviour),
        "Analyses": dict.fromkeys(ANALYSES, analysis_page),
        "Commands": dict.fromkeys(registry.names("cli.commands"), _command),
        "Files to write": {"config": lambda _: _config_page(), "rules": lambda _: _rules_page().RULES},
        "Files and exit codes": {
            **dict.fromkeys(PAGES, PAGES.__getitem__),
            "check.json": lambda _: _rules_page().CHECK,
        },
        "Errors": dict.fromkeys(error_pages(), lambda name: error_pages()[name]),
    }


def _schemas() -> dict[str, Callable[[], dict[str, Any]]]:
    """Of the files that people write."""
    # here and not above: the help needs no pydantic
    from attncli.cli.config.page import config_schema

    return {"config": config_schema, "rules": lambda: _rules_page().rules_schema()}


def _config_page() -> str:
    from attncli.cli.config.page import config_page

    return config_page()


def _rules_page() -> ModuleType:
    # here and not above: the help needs no pydantic
    from attncli.cli import rules_page as page

    return page


def _metric(name: str) -> str:
    return str(registry.module("metrics", name).METRIC.page)


def _behaviour(name: str) -> str:
    """The page of a class of heads, or of a score on repeated tokens."""
    from attncli.studies.patterns import classes
    from attncli.studies.repeated import compute as repeated

    return (classes.pages() | repeated.pages())[name]


def _command(name: str) -> str:
    module = registry.module("cli.commands", name)
    return f"{inspect.getdoc(getattr(module, name))}\n\nAll options: attncli {name} --help"


def _overview() -> str:
    parts = []
    for title, group in _groups().items():
        width = max(map(len, group))
        lines = [f"  {name:{width}}  {_first_line(name, group[name])}".rstrip() for name in group]
        parts.append("\n".join([title, *lines]))
    return "\n\n".join([*parts, "attncli explain NAME shows the page."])


def _first_line(name: str, shown: Callable[[str], str]) -> str:
    return shown(name).splitlines()[0]
