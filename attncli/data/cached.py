"""A cached property without a lock."""

import functools
from typing import Any, Self, TypeVar, overload

Value = TypeVar("Value")


class cached_property(functools.cached_property[Value]):  # noqa: N801
    """Like `functools.cached_property`, which in Python 3.11 holds one lock for all objects while it computes.

    Threads would wait for each other there, and a child that is forked meanwhile would wait for ever. Here two threads
    may both compute the value.
    """

    @overload
    def __get__(self, instance: None, owner: type[Any] | None = None) -> Self: ...

    @overload
    def __get__(self, instance: object, owner: type[Any] | None = None) -> Value: ...

    def __get__(self, instance: object, owner: type[Any] | None = None) -> Self | Value:
        """Return the value of an instance, computed once."""
        if instance is None:
            return self
        values, name = vars(instance), self.attrname or ""
        if name not in values:
            values[name] = self.func(instance)
        value: Value = values[name]
        return value
