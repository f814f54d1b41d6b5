"""One option of the command line, and what was typed of a group of options."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any


class Option:
    """How one option is called, completed and explained.

    panel    heading of the help under which it is listed
    names    `--layer`, `-l`; the name of the field where none is given
    metavar  placeholder of the value in the help; the choices where none is given
    choices  allowed values, completed by the shell
    complete function that returns values for the shell, where they are not known in advance
    """

    def __init__(
        self,
        panel: str,
        *names: str,
        help: str,
        metavar: str | None = None,
        choices: Sequence[str] = (),
        complete: Callable[[], Sequence[str]] | None = None,
    ) -> None:
        self.panel, self.names, self.help, self.choices = panel, names, help, tuple(choices)
        self.metavar = metavar or "|".join(choices) or None
        self._complete = complete

    @property
    def completes(self) -> bool:
        """Whether the shell can complete values."""
        return bool(self._complete or self.choices)

    def values(self) -> list[str]:
        """Return the values that the shell completes; empty if any value is possible."""
        return list(self._complete()) if self._complete else list(self.choices)


def key(name: str) -> str:
    """Return the name of an option as it is typed, without the dashes.

    >>> key("max_tokens"), key("from_")
    ('max-tokens', 'from')
    """
    return name.rstrip("_").replace("_", "-")


def typed(*groups: Any) -> dict[str, Any]:
    """Return the options that differ from their defaults, by the names that are typed."""
    return {key(name): value for group in groups for name, value in changed(group).items()}


def changed(group: Any) -> dict[str, Any]:
    """Return the fields of a group that differ from their defaults."""
    default = type(group)()
    values = {each.name: getattr(group, each.name) for each in fields(group) if each.compare}
    return {name: value for name, value in values.items() if value != getattr(default, name)}
