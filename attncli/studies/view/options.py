"""Options of `attncli view`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from attncli.options import Option
from attncli.vocabulary import MAX_PAGE


@dataclass(frozen=True)
class ViewOptions:
    """What the page holds."""

    neurons: Annotated[
        bool, Option("Page", "--neurons", help="add the query and key vectors that each weight is computed from")
    ] = False
    max_page: Annotated[
        str,
        Option(
            *("Page", "--max-page"),
            metavar="SIZE",
            help="largest size of the page; longer texts are shown with the strongest weights of each row and a "
            f"pooled map (default: {MAX_PAGE})",
        ),
    ] = MAX_PAGE
    rows: Annotated[
        str | None,
        Option("Page", "--rows", metavar="A-B", help="show only these queries, such as 8000-8400, counted from 0"),
    ] = None
    keys: Annotated[
        str | None, Option("Page", "--keys", metavar="A-B", help="show only these keys, counted from 0")
    ] = None
    open: Annotated[bool, Option("Page", "--open", help="open the page in the browser")] = False
