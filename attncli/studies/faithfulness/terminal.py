"""The summary of `faithfulness` for the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from attncli.studies.faithfulness.result import Faithfulness

if TYPE_CHECKING:
    from rich.console import RenderableType


def summary_lines(result: Faithfulness) -> Iterator[RenderableType]:
    """Yield the sentences of all parts."""
    from rich.text import Text

    yield from map(Text, result.summary)
