"""Names without imports: which metrics, views and subcommands exist, found by looking at the folders.

The file name is the name. Nothing is imported before it is asked for, so that `--help` stays quick.
Installed packages add their own through the entry points `attncli.metrics` and `attncli.views`.
"""

from __future__ import annotations

import importlib
import logging
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Literal

from attncli.errors import UsageError, did_you_mean

Room = Literal["metrics", "cli.commands"]
_PACKAGE = Path(__file__).parent
_log = logging.getLogger("attncli")


def _own(room: Room) -> list[str]:
    return sorted(path.stem for path in (_PACKAGE / room.replace(".", "/")).glob("[!_]*.py"))


def _plugins(room: Room) -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=f"attncli.{room}")}


def names(room: Room) -> list[str]:
    """All names in a room, our own first, then those of plugins; nothing is imported."""
    own = _own(room)
    return own + sorted(set(_plugins(room)) - set(own))


def module(room: Room, name: str) -> ModuleType:
    """The module behind a name; an unknown name is a `UsageError` with close names."""
    if name in _own(room):
        return importlib.import_module(f"attncli.{room}.{name}")
    if point := _plugins(room).get(name):
        loaded = point.load()
        if not isinstance(loaded, ModuleType):
            raise UsageError(f"plugin '{name}' of attncli.{room} must be a module, got {type(loaded).__name__}")
        return loaded
    raise UsageError(f"unknown {room.rstrip('s')} '{name}': {did_you_mean(name, names(room))}")


def modules(room: Room) -> dict[str, ModuleType]:
    """All modules of a room by name; a plugin that does not import is warned about and left out."""
    found = {name: module(room, name) for name in _own(room)}
    for name in sorted(set(_plugins(room)) - set(found)):
        try:
            found[name] = module(room, name)
        except Exception as error:  # a stranger's code: whatever it raises, ours goes on
            _log.warning("plugin '%s' of attncli.%s is left out: %s", name, room, error)
    return found
