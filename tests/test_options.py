"""The fields of option groups are options: their names, help and defaults."""

from __future__ import annotations

from dataclasses import dataclass, fields

import pytest

from attncli.options import InputOptions, Option, SelectionOptions, option


@dataclass(frozen=True)
class Group:
    """Options of all types of defaults."""

    count: int = option("Panel", "how many", metavar="N", default=3)
    named: str = option("Panel", "which one (default: as the model)", default="auto")
    missing: str | None = option("Panel", "a file")
    flag: bool = option("Panel", "draw it", default=False)
    switch: bool = option("Panel", "draw it", "--switch/--no-switch", default=True)


SHOWN = {field.name: field.metadata["option"] for field in fields(Group)}


@pytest.mark.parametrize(
    ("name", "help"),
    [
        ("count", "how many (default: 3)"),
        ("named", "which one (default: as the model)"),
        ("missing", "a file"),
        ("flag", "draw it"),
        ("switch", "draw it"),
    ],
)
def test_the_help_names_a_default_that_is_no_switch_once(name: str, help: str) -> None:
    assert SHOWN[name].help == help


def test_the_defaults_are_those_of_the_fields() -> None:
    assert Group() == Group(3, "auto", None, False, True)


def test_a_long_name_is_that_of_the_field_unless_another_is_given() -> None:
    assert SHOWN["count"].all_names("count") == ("--count",)
    assert SHOWN["switch"].all_names("switch") == ("--switch/--no-switch",)
    assert Option("Panel", "help", ("-t",)).all_names("text") == ("--text", "-t")


def test_short_names_are_those_of_the_contract() -> None:
    options = {
        field.name: field.metadata["option"] for group in (InputOptions, SelectionOptions) for field in fields(group)
    }
    short = {name: option.names for name, option in options.items() if option.names}
    assert short == {"text": ("-t",), "file": ("-f",), "layer": ("-l",), "head": ("-H",)}
