"""Make the HTML file of the page: insert a payload into the empty page that is built from `web/`."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Iterator
from functools import cache
from importlib.resources import files

from attncli.page.payload import Payload

MARKER = "<!--run-->"
TITLE = "<title>attncli</title>"
_ESCAPES = str.maketrans({char: f"\\u{ord(char):04x}" for char in "<>&"})


def page_html(payload: Payload, template: str | None = None) -> str:
    """Return the page as one document that needs no other file; `template` replaces `built_page()`."""
    page = built_page() if template is None else template
    title = f"<title>{html.escape(payload.document['title'])} · attncli</title>"
    before, _, after = page.replace(TITLE, title, 1).partition(MARKER)
    return "".join([before, *_scripts(payload), after])


@cache
def built_page() -> str:
    """Return the page that comes with the package, without content."""
    return files("attncli.page").joinpath("assets", "page.html").read_text(encoding="utf-8")


def _scripts(payload: Payload) -> Iterator[str]:
    """Yield the document, then each binary part, as `<script>` elements."""
    # ASCII only, and without the characters that could end the script for an HTML parser
    document = json.dumps(payload.document, allow_nan=False, separators=(",", ":")).translate(_ESCAPES)
    yield f'<script type="application/json" id="page">{document}</script>\n'
    for number, blob in enumerate(payload.blobs):
        data = base64.b64encode(blob).decode("ascii")
        yield f'<script type="application/octet-stream" id="blob-{number}">{data}</script>\n'
