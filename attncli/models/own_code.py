"""A module that the user's own code makes, named on the command line as `package.mod:build`."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from attncli.errors import AttnError, UsageError, did_you_mean, shortened


def build_module(spec: str) -> nn.Module:
    """Return the module that `package.mod:build` names: a module, or what a function without arguments returns.

    The code runs as `python -m` would run it: modules in the working directory are found. Raise UsageError if there is
    no such module or name, or if the code fails.
    """
    home, colon, name = spec.partition(":")
    if not (colon and home and name) or not all(part.isidentifier() for part in (*home.split("."), *name.split("."))):
        raise UsageError(f"expected --module like package.mod:build, got '{spec[:60]}'")
    with own_code(f"importing {home}"):
        try:
            value: Any = importlib.import_module(home)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{home}.".startswith(f"{error.name}."):
                raise
            raise UsageError(f"there is no Python module '{error.name}' here or among the installed ones") from error
    for part in name.split("."):
        if not hasattr(value, part):
            raise UsageError(
                f"{home} has no '{part}': {did_you_mean(part, [n for n in dir(value) if n[0] != '_'])}"[:450]
            )
        value = getattr(value, part)
    if not isinstance(value, nn.Module):
        if not callable(value):
            raise UsageError(
                f"{spec} is of type {type(value).__name__}, expected a torch.nn.Module or a function that makes one"
            )
        with own_code(spec):
            value = value()
    if not isinstance(value, nn.Module):
        raise UsageError(f"{spec} returned a value of type {type(value).__name__}, expected a torch.nn.Module")
    return value


@contextmanager
def own_code(what: str) -> Iterator[None]:
    """Run code of the user inside the `with` block; raise UsageError that names `what` if it fails or exits."""
    path, folder = sys.path.copy(), str(Path.cwd())
    sys.path.insert(0, folder)
    try:
        yield
    except (AttnError, KeyboardInterrupt):
        raise
    except SystemExit as error:
        raise UsageError(f"{what} ends the program (exit code {error.code})") from error
    except Exception as error:  # code of any kind
        line = (str(error).splitlines() or [""])[0]
        raise UsageError(shortened(f"{what} fails: {type(error).__name__}: {line}", 450)) from error
    finally:
        sys.path[:] = path
