"""Options that edit the attention of a model, and the lines in which edits are passed on."""

from collections.abc import Sequence
from dataclasses import dataclass

from attncli.errors import UsageError
from attncli.options import ModelOptions, option

_PANEL = "Edits"
_ACTIONS = ("zero", "mean", "block", "uniform")
"""Edits that are options of their own."""


@dataclass(frozen=True)
class EditedModelOptions(ModelOptions):
    """Options of the model, how it is loaded, and how its attention is edited (attncli explain edits)."""

    zero: list[str] | None = option(
        _PANEL, "heads whose output is 0: 3.1, 4 (a whole layer), 4-8, cross:3.1; with commas", metavar="HEADS"
    )
    mean: list[str] | None = option(
        _PANEL, "heads whose output is its mean over the tokens of the text, or of --mean-file", metavar="HEADS"
    )
    mean_file: str | None = option(
        _PANEL, "texts over whose tokens means are taken, instead of the text that is read; like --file", metavar="PATH"
    )
    block: list[str] | None = option(
        _PANEL,
        "mask a key for a query: 'it->animal', in layers 4 to 8 'it->animal@4-8'; may be repeated",
        metavar="QUERY->KEY",
        yields=True,
    )
    uniform: list[str] | None = option(
        _PANEL, "heads whose queries give all their visible keys the same weight", metavar="HEADS", yields=True
    )
    edit: list[str] | None = option(
        _PANEL,
        "any edit as a line: 'window 4@3', 'temperature 2@3.1', 'scale 0.5@3.1', 'uniform 5', …; may be repeated",
        metavar="EDIT",
    )


def edit_lines(options: ModelOptions) -> tuple[str, ...]:
    """Return the edits that options ask for, each in one line: the options in their order, then the lines of `--edit`.

    Raise UsageError that names the option if one is wrong.
    """
    lines = [(f"--{name} {value}", f"{name} {value}") for name in _ACTIONS for value in _given(options, name)]
    lines += [(f"--edit '{line}'", line) for line in _given(options, "edit")]
    return tuple(_checked(typed, line) for typed, line in lines)


def other_edit_lines(edits: Sequence[str]) -> tuple[str, ...]:
    """Return the edits of `--edit-b`; `none` alone is none."""
    if [line.strip() for line in edits] == ["none"]:
        return ()
    return tuple(_checked(f"--edit-b '{line}'", line) for line in edits)


def takes_mean(lines: Sequence[str]) -> bool:
    """Return whether one of these edits puts a mean in the place of outputs of heads."""
    return any(line.partition(" ")[0] == "mean" for line in lines)


def _given(options: ModelOptions, name: str) -> Sequence[str]:
    return getattr(options, name, None) or ()


def _checked(typed: str, line: str) -> str:
    """Return the line of an edit; raise UsageError that begins with what was typed if it is wrong."""
    # imported here: the help of the command line needs no NumPy
    from attncli.data.edits import parse_edit_line

    try:
        return parse_edit_line(line).spec
    except UsageError as error:
        raise UsageError(f"{typed}: {error}") from error
