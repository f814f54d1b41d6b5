"""The page of `attncli view`: from maps, edges, vectors and statistics to one HTML file. NumPy only.

blobs     the binary parts: weights in 8 bits, masks in bits, vectors in 16
sides     token lists, with the text around them
payload   what the page holds, as `web/page.schema.json` says
sizes     how much of it fits into so many bytes
document  the file: the payload put into `assets/page.html`, which is built from `web/`
"""

from __future__ import annotations

from attncli.page.document import page_html
from attncli.page.edges import EdgeTable, EdgeTables, Place
from attncli.page.payload import Content, Payload, payload
from attncli.page.sizes import Fit, MapSize, fit, least, whole

__all__ = [
    "Content",
    "EdgeTable",
    "EdgeTables",
    "Fit",
    "MapSize",
    "Payload",
    "Place",
    "fit",
    "least",
    "page_html",
    "payload",
    "whole",
]
