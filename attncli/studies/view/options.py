"""Options of `attncli view`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from attncli.options import Option


@dataclass(frozen=True)
class ViewOptions:
    """What the page holds."""

    neurons: Annotated[
        bool,
        Option("Page", "--neurons", help="also query and key vectors: why a token looks where it does"),
    ] = False
    max_page: Annotated[
        str | None,
        Option(
            *("Page", "--max-page"),
            metavar="SIZE",
            help="no larger than this: of more, the strongest weights of each row and a pooled map (default: 32MB)",
        ),
    ] = None
    rows: Annotated[
        str | None,
        Option("Page", "--rows", metavar="A-B", help="only these queries, such as 8000-8400, counted from 0"),
    ] = None
    keys: Annotated[str | None, Option("Page", "--keys", metavar="A-B", help="only these keys")] = None
    open: Annotated[bool, Option("Page", "--open", help="show it in the browser")] = False
