"""Types of arguments of the Python API, checked when a function is called: a wrong one is a UsageError in one line."""

import functools
import inspect
import operator
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from numbers import Real
from pathlib import Path
from typing import Any, Literal, TypedDict, TypeVar, Union, Unpack, get_args, get_origin, get_type_hints

from attncli.errors import UsageError, did_you_mean

Class = TypeVar("Class", bound=type)
Function = TypeVar("Function", bound=Callable[..., Any])
_WORDS: dict[Any, str] = {
    bool: "True or False",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a path",
    Mapping: "a mapping",
    Callable: "a function",
    type(None): "None",
}


class PictureArguments(TypedDict, total=False):
    """How a picture looks; all are optional.

    figsize  width and height in inches, such as `(6, 4)`: maps get other cells, then all is scaled to fit
    dpi      pixels per inch, 150 by default
    cmap     colour map of matplotlib, such as "magma"; scales around a middle take only a diverging one
    title    first line; "" for none
    font     installed font family, or serif, sans-serif, monospace
    """

    figsize: Sequence[float] | str | None
    dpi: int | None
    cmap: str | None
    title: str | None
    font: str | None


def checked(function: Function) -> Function:
    """Return the function with arguments that are checked against the types in its signature.

    Options of an `Unpack[...]` are checked by name only: what they may be, their reader says.
    """

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        if (simple := _plain_parameters(function)) and len(args) == len(simple) and not kwargs:
            for (name, hint), value in zip(simple, args, strict=True):
                check(name, value, hint)
            return function(*args)
        hints, names = parameter_types(function), _signature(function)
        try:
            arguments = names.bind_partial(*args, **kwargs).arguments
        except TypeError as error:
            known = ", ".join(name for name in names.parameters if name != "self")
            raise UsageError(f"{function.__name__} {error}: its arguments are {known}") from None
        for name, value in arguments.items():
            kind = names.parameters[name].kind
            hint = hints.get(name, Any)
            if kind is inspect.Parameter.VAR_KEYWORD:
                if get_origin(hint) is Unpack:
                    check_names(value, get_args(hint)[0])
                continue
            for item in value if kind is inspect.Parameter.VAR_POSITIONAL else [value]:
                check(name, item, hint)
        return function(*args, **kwargs)

    return call  # type: ignore[return-value]


def checks_arguments(cls: Class) -> Class:
    """Return the class with its own public methods `checked`."""
    for name, member in list(vars(cls).items()):
        if name.startswith("_"):
            continue
        if isinstance(member, classmethod | staticmethod):
            setattr(cls, name, type(member)(checked(member.__func__)))
        elif inspect.isfunction(member):
            setattr(cls, name, checked(member))
    return cls


@functools.cache
def parameter_types(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the types of the parameters; that of the result may be unknown at run time."""
    function = inspect.unwrap(function)
    parameters = {name: hint for name, hint in function.__annotations__.items() if name != "return"}
    holder = type("Parameters", (), {"__annotations__": parameters})
    return get_type_hints(holder, function.__globals__)


def check_fields(options: Any, group: type) -> None:
    """Raise UsageError unless options are of this dataclass, and each field has a value of its type."""
    check("the options", options, group)
    hints = get_type_hints(type(options))
    for field in fields(options):
        check(field.name, getattr(options, field.name), hints[field.name])


def check_options(options: Mapping[str, Any], known: type) -> None:
    """Raise UsageError if an option is not a key of a `TypedDict`, or has a value of another type."""
    check_names(options, known)
    hints = get_type_hints(known)
    for name, value in options.items():
        check(name, value, hints[name])


def check_names(options: Mapping[str, Any], known: type) -> None:
    """Raise UsageError if an option is not a key of a `TypedDict`."""
    unknown = next((name for name in options if name not in known.__annotations__), None)
    if unknown is not None:
        raise UsageError(f"unknown option '{unknown:.60}': {did_you_mean(unknown, known.__annotations__)}")


def check(name: str, value: object, hint: Any) -> None:
    """Raise UsageError unless a value has the type of a hint."""
    if not _fits(value, hint):
        if isinstance(value, str) and (known := _choices(hint)):
            raise UsageError(f"unknown {name} {_shown(value)}: {did_you_mean(value, dict.fromkeys(known))}")
        raise UsageError(f"expected {name} to be {_in_words(hint)}, got {_shown(value)}")


@functools.cache
def _signature(function: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(function)


@functools.cache
def _plain_parameters(function: Callable[..., Any]) -> tuple[tuple[str, Any], ...]:
    """Return name and type of each parameter, if all are plain ones that need no default; else nothing.

    Calls with just these are checked without `inspect`, which takes longer than most of the functions.
    """
    hints, parameters = parameter_types(function), _signature(function).parameters.values()
    if any(one.kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD for one in parameters):
        return ()
    return tuple((one.name, hints.get(one.name, Any)) for one in parameters)


def _fits(value: Any, hint: Any) -> bool:
    if hint is str or hint is Any:  # most are
        return hint is Any or isinstance(value, str)
    origin, parts = get_origin(hint), get_args(hint)
    if hint in (Any, object) or isinstance(hint, TypeVar):
        return True
    if origin in (Union, types.UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is Literal:
        return isinstance(value, str) and value in parts
    if getattr(hint, "_is_protocol", False):  # such as a function with certain parameters
        return callable(value)
    if hint in (bool, int, float):
        return _is_number(value, hint)
    if origin is None or not parts:
        return isinstance(value, origin or hint)
    return isinstance(value, origin) and _items_fit(value, origin, parts)


def _items_fit(value: Any, origin: Any, parts: tuple[Any, ...]) -> bool:
    """Return whether the items of a collection have their types; a text is no collection."""
    if issubclass(origin, Mapping):
        return all(_fits(name, parts[0]) and _fits(item, parts[1]) for name, item in value.items())
    if not issubclass(origin, Iterable):
        return True
    if isinstance(value, str | bytes):
        return False
    if set(parts) <= {Any}:
        return True
    if origin is tuple and parts[-1] is not Ellipsis:
        return len(value) == len(parts) and all(map(_fits, value, parts))
    return all(_fits(item, parts[0]) for item in value)


def _is_number(value: Any, hint: type) -> bool:
    """Return whether a value of Python, NumPy or torch is True or False, a whole number, or a number."""
    is_bool = type(value).__name__ in ("bool", "bool_")
    if hint is bool or is_bool:
        return is_bool and hint is bool
    if hint is float:
        return isinstance(value, Real)
    try:
        operator.index(value)
    except (TypeError, ValueError, RuntimeError):  # of NumPy and torch too: an array of several numbers
        return False
    return True


def _choices(hint: Any) -> list[str]:
    """Return the texts that a type allows, if it does not allow all."""
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    return [choice for part in get_args(hint) for choice in _choices(part)]


def _in_words(hint: Any) -> str:
    """Return what a type asks for: `a whole number or None`."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(map(_in_words, parts)))
    if origin is Literal:
        return " or ".join(map(repr, parts))
    if hint in _WORDS or origin in _WORDS:
        return _WORDS[hint if hint in _WORDS else origin]
    if parts and issubclass(origin, Iterable) and origin is not tuple:
        return f"several, each {_in_words(parts[0])}"
    cls = origin or hint
    name = getattr(cls, "public_name", getattr(cls, "__name__", str(hint)))
    return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"


def _shown(value: object) -> str:
    """Return a value for an error, in at most 60 characters; only the type of what may be large."""
    if isinstance(value, str | bytes):
        return repr(value[:58])
    plain = isinstance(value, bool | int | float | type(None))
    return f"{value!r:.60}" if plain else f"{type(value).__name__}"
