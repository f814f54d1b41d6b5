"""Extension points of attncli: the names and modules of metrics and commands, and plugins of other packages.

A file `metrics/<name>.py` is the metric `<name>`, a file `cli/commands/<name>.py` is the command `<name>`, with `-` for
each `_`. Our own modules are imported only when they are needed, so that `--help` stays fast.

Other packages extend attncli by entry points. The name of the entry point is the name of the plugin:

    [project.entry-points."attncli.metrics"]
    my_metric = "my_package.my_metric"          # a module with METRIC, an attncli.Metric

    [project.entry-points."attncli.studies"]
    my-study = "my_package.my_study:MyStudy"    # a subclass of attncli.engine.study.Study

A plugin that cannot be loaded or is of the wrong type is left out everywhere, with one warning.
"""

import importlib
import logging
from collections.abc import Callable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from attncli.errors import UsageError, did_you_mean

Group = Literal["metrics", "cli.commands"]
_PACKAGE = Path(__file__).parent
_log = logging.getLogger("attncli")


def names(group: Group) -> list[str]:
    """Return the names of all metrics or of our own commands: our own first, then those of plugins."""
    return [*_builtin(group), *_plugin_modules(group)]


def module(group: Group, name: str) -> ModuleType:
    """Return the module of a metric or a command; raise UsageError with close names if there is none."""
    if name in _builtin(group):
        return importlib.import_module(f"attncli.{group}.{name.replace('-', '_')}")
    if name in _plugin_modules(group):
        return _plugin_modules(group)[name]
    raise UsageError(f"unknown {group.rstrip('s')} '{name}': {did_you_mean(name, names(group))}")


def modules(group: Group) -> dict[str, ModuleType]:
    """Return the modules of all metrics or commands by name."""
    return {name: module(group, name) for name in names(group)}


@cache
def plugins(group: Literal["metrics", "studies"], check: Callable[[str, object], None]) -> Mapping[str, Any]:
    """Return the plugins of a group by name; leave out broken ones and warn of each once.

    check  raises an error if a loaded object is not what the group expects
    """
    loaded: dict[str, Any] = {}
    for point in sorted(entry_points(group=f"attncli.{group}"), key=lambda point: point.name):
        try:
            if point.name in loaded:
                raise UsageError("another package has a plugin of the same name")
            plugin = point.load()
            check(point.name, plugin)
        except (Exception, SystemExit) as error:  # code of other people may raise anything
            reason = str(error) if isinstance(error, UsageError) else f"{type(error).__name__}: {error}"
            _log.warning(
                "plugin '%s' of attncli.%s (package %s) is left out: %s", point.name, group, _package(point), reason
            )
        else:
            loaded[point.name] = plugin
    return loaded


def package_of(group: Literal["metrics", "studies"], name: str) -> str | None:
    """Return the package that provides a plugin; None if there is no such plugin."""
    points = (point for point in entry_points(group=f"attncli.{group}") if point.name == name)
    point = next(points, None)
    return None if point is None else _package(point)


def _package(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "an unknown package"


@cache
def _builtin(group: Group) -> tuple[str, ...]:
    stems = sorted(path.stem for path in (_PACKAGE / group.replace(".", "/")).glob("[!_]*.py"))
    return tuple(stem.replace("_", "-") if group == "cli.commands" else stem for stem in stems)


def _plugin_modules(group: Group) -> Mapping[str, ModuleType]:
    return plugins("metrics", _check_metric) if group == "metrics" else {}


def _check_metric(name: str, plugin: object) -> None:
    # imported here: names are listed without NumPy
    from attncli.data import Metric

    if name in _builtin("metrics"):
        raise UsageError("attncli has a metric of the same name")
    if not name.isidentifier():
        raise UsageError("expected a name of letters, digits and _")
    if not isinstance(plugin, ModuleType):
        raise UsageError(f"expected a module, got {type(plugin).__name__}")
    metric = getattr(plugin, "METRIC", None)
    if not isinstance(metric, Metric):
        raise UsageError(f"expected METRIC in {plugin.__name__} to be an attncli.Metric, got {type(metric).__name__}")
    if metric.name != name:
        raise UsageError(f"expected the metric to be called '{name}' as its entry point is, got '{metric.name}'")
    if not metric.page:
        raise UsageError(f"expected {metric.compute.__name__} to have a docstring that begins with a question")
