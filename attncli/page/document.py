"""The file: what the page holds, put into the page that is built from `web/`."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import files

from attncli.page.payload import Payload

PLACE = "<!--run-->"
TITLE = "<title>attncli</title>"
_ESCAPES = str.maketrans({sign: f"\\u{ord(sign):04x}" for sign in "<>&"})


def page_html(payload: Payload, template: str | None = None) -> str:
    """One document that needs nothing else; `template` stands in for the page that comes with the package."""
    page = built_page() if template is None else template
    title = f"<title>{html.escape(payload.document['title'])} · attncli</title>"
    before, _, after = page.replace(TITLE, title, 1).partition(PLACE)
    return "".join([before, *_parts(payload), after])


@cache
def built_page() -> str:
    """The page that comes with the package, still empty."""
    return files("attncli.page").joinpath("assets", "page.html").read_text(encoding="utf-8")


def _parts(payload: Payload) -> Iterator[str]:
    # ASCII, and without the signs that a parser of HTML could take for the end of the script
    document = json.dumps(payload.document, allow_nan=False, separators=(",", ":")).translate(_ESCAPES)
    yield f'<script type="application/json" id="page">{document}</script>\n'
    for number, blob in enumerate(payload.blobs):
        data = base64.b64encode(blob).decode("ascii")
        yield f'<script type="application/octet-stream" id="blob-{number}">{data}</script>\n'
