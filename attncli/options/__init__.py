"""The options of the command line: what an option is, and the groups that all commands share."""

from attncli.options.groups import (
    ConsoleOptions,
    FolderOptions,
    InputOptions,
    ModelOptions,
    NormOptions,
    OutputOptions,
    SavedRunOptions,
    SelectionOptions,
)
from attncli.options.option import Option, changed, key, typed

__all__ = [
    "ConsoleOptions",
    "FolderOptions",
    "InputOptions",
    "ModelOptions",
    "NormOptions",
    "Option",
    "OutputOptions",
    "SavedRunOptions",
    "SelectionOptions",
    "changed",
    "key",
    "typed",
]
