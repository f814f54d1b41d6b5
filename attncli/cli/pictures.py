"""How the pictures of a command look: its options, over the style that the variable ATTNCLI_STYLE names."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from attncli.errors import UsageError
from attncli.options import PictureOptions, changed
from attncli.paths import what_is_at

if TYPE_CHECKING:
    from attncli.plotting.picture_style import PictureStyle

VARIABLE = "ATTNCLI_STYLE"


def style_of(options: PictureOptions) -> PictureStyle | None:
    """Return the style of the pictures of a command; None if neither the options nor the variable choose one.

    Raise UsageError if an option is wrong, or what the variable names.
    """
    named, typed = os.environ.get(VARIABLE, ""), changed(options)
    if not named and not typed:
        return None
    # imported here: matplotlib takes long to load
    from attncli.plotting.picture_style import PictureStyle

    style = PictureStyle.of(**typed)
    if not named:
        return style
    try:
        base = PictureStyle.of(**_values_of(named))
    except UsageError as error:
        raise UsageError(f"{VARIABLE} is '{named}': {error}") from error
    return PictureStyle(**{**base.chosen, **style.chosen})


def _values_of(name: str) -> dict[str, Any]:
    """Return the values of a style: a YAML file with the names of options, or a style of matplotlib."""
    from attncli.plotting.picture_style import close_styles, is_matplotlib_style, values_of_matplotlib_style

    if is_matplotlib_style(name):
        return {**values_of_matplotlib_style(name)}
    if what_is_at(name) != "file":
        known = close_styles(name)
        raise UsageError(f"expected a file in YAML, a file .mplstyle or the name of a style of matplotlib; {known}")
    # imported here: other commands need no pydantic
    from attncli.cli.config.sections import given, section
    from attncli.inputs.yaml_file import read_yaml, validate

    return given(validate(read_yaml(name), section("pictures", PictureOptions)), PictureOptions)
