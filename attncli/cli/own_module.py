"""A module of the user's own code in the place of a model and a text."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from dataclasses import replace
from typing import TYPE_CHECKING

from attncli.errors import UsageError
from attncli.module_options import ModuleOptions
from attncli.options import ModelOptions, typed
from attncli.saved_options import SavedRunOptions

if TYPE_CHECKING:
    from attncli.engine.collected import Collected
    from attncli.engine.request import Request


def module_run(
    own: ModuleOptions, saved: SavedRunOptions, model: ModelOptions, others: tuple[object, ...], request: Request
) -> Collected:
    """Return the attention of a module on the inputs in a file, with all its maps.

    others  option groups of which none may be typed
    Raise UsageError if options exclude each other, or the module or its inputs are wrong.
    """
    # imported here: the help of the command line needs no torch
    from attncli.api.modules import open_module

    if own.module is None or own.inputs is None:
        missing, given = ("module", "inputs") if own.module is None else ("inputs", "module")
        raise UsageError(f"--{given} goes with --{missing}, which is not given")
    left_out = typed(replace(model, capture="auto"), *others, replace(saved, labels=None, key_labels=None))
    if left_out:
        raise UsageError(f"--module takes the place of a model and a text: leave out --{next(iter(left_out))}")
    with redirect_stdout(sys.stderr):  # what the user's code prints is no data of the command
        return open_module(own.module, own.inputs, saved.labels, saved.key_labels, request)
