"""A page that is built from `web/`, with a document and its binary parts in it."""

import base64
import html
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from attncli.data import Input

NAME = 80
"""Largest number of characters in the name of a text."""
MARKER = "<!--run-->"
TITLE = "<title>attncli</title>"
_ESCAPES = str.maketrans({char: f"\\u{ord(char):04x}" for char in "<>&"})


def filled_page(
    name: str, title: str, document: Mapping[str, Any], blobs: Sequence[bytes], template: str | None = None
) -> str:
    """Return a page as one document that needs no other file; `template` replaces `built_page(name)`."""
    page = built_page(name) if template is None else template
    heading = f"<title>{html.escape(title)} · attncli</title>"
    before, _, after = page.replace(TITLE, heading, 1).partition(MARKER)
    return "".join([before, *_scripts(document, blobs), after])


@cache
def built_page(name: str = "page") -> str:
    """Return a page that comes with the package, without content."""
    return files("attncli.page").joinpath("assets", f"{name}.html").read_text(encoding="utf-8")


def _scripts(document: Mapping[str, Any], blobs: Sequence[bytes]) -> Iterator[str]:
    """Yield the document, then each binary part, as `<script>` elements."""
    # ASCII only, and without the characters that could end the script for an HTML parser
    text = json.dumps(document, allow_nan=False, separators=(",", ":")).translate(_ESCAPES)
    yield f'<script type="application/json" id="page">{text}</script>\n'
    for number, blob in enumerate(blobs):
        data = base64.b64encode(blob).decode("ascii")
        yield f'<script type="application/octet-stream" id="blob-{number}">{data}</script>\n'


def text_name(source: Input) -> str:
    """Return the beginning of a text in one line, at most `NAME` characters."""
    text = " ".join(source.text.text.split()) or f"text {source.index}"
    return text if len(text) <= NAME else text[: NAME - 1] + "…"
