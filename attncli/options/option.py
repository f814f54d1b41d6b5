"""One option of the command line, and the changed options of a group."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any


class Option:
    """The name, help and completion of one option.

    panel    heading of the help under which it is listed
    names    `--layer`, `-l`; the name of the field if none is given
    metavar  placeholder of the value in the help; the choices if none is given
    choices  allowed values, completed by the shell
    complete function that returns values for the shell, if they are not known in advance
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
    """Return the name of an option on the command line, without the leading dashes.

    >>> key("max_tokens"), key("from_")
    ('max-tokens', 'from')
    """
    return name.rstrip("_").replace("_", "-")


def typed(*groups: Any) -> dict[str, Any]:
    """Return the options that differ from their defaults, by their names on the command line."""
    return {key(name): value for group in groups for name, value in changed(group).items()}


def changed(group: Any) -> dict[str, Any]:
    """Return the fields of a group that differ from their defaults."""
    default = type(group)()
    values = {option.name: getattr(group, option.name) for option in fields(group) if option.compare}
    return {name: value for name, value in values.items() if value != getattr(default, name)}
