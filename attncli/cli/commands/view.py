"""`attncli view`: every head on one page."""

from __future__ import annotations

import webbrowser
from typing import TYPE_CHECKING

from attncli.cli.console import CommandConsole
from attncli.cli.run_study import CommonOptions, run_study
from attncli.studies.view.options import ViewOptions
from attncli.studies.view.study import ViewStudy

if TYPE_CHECKING:
    from attncli.engine.publish import Published


def view(common: CommonOptions, options: ViewOptions) -> None:
    """Explore every head on one page.

    Writes view.html: all layers and heads as lines, maps, text and numbers, in one file that works without
    a network. --open opens it in the browser. In a pipe, prints its path.

    Weights have 8 bits, with an error below 1/255 of the largest weight of their row. If the page would be larger than
    --max-page, it shows the strongest weights of each row and a pooled map, and says so; then no whole map is in
    memory.

    With --neurons the page also has the query and key vectors behind each weight; --save-maps then saves them too.

    With --attribute, a tab shows how much each token counts for a prediction, beside the attention of each head.

    Example: attncli view --text "The cat sat on the mat."
    """
    run_study(ViewStudy(options), common, afterwards=_open_page if options.open else None)


def _open_page(published: Published, console: CommandConsole) -> None:
    path = next(path for path in published.files if path.name == "view.html")
    if not webbrowser.open_new_tab(path.resolve().as_uri()):
        console.notes(["no browser was found: open the page yourself"])
