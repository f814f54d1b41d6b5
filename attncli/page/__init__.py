"""The pages of `attncli view` and `attncli qk-map`, each one HTML file. NumPy only.

blobs    the binary parts: weights in 8 bits, masks in bits, vectors in 16 bits
sides    token lists with the text around the tokens
edges    the strongest weights of each row
attributions  how much tokens count for a prediction
payload  the content of the page of `view`, and the file
qk_map   the content of the page of `qk-map`, and the file
filled   a page of `assets/`, which is built from `web/`, with this content
sizes    the bytes of a page, and how much of a run fits into a number of bytes
"""

from attncli.page.attributions import PageAttribution, PageMethod, PageOutput
from attncli.page.edges import COMBINED, EdgeTable, EdgeTables, LayerId
from attncli.page.payload import PageContent, page_html
from attncli.page.qk_map import HeadQuality, KindPoints, LayerPoints, QkPageContent, QualityNumber, qk_page_html
from attncli.page.sizes import MapSize, PageFit, fit_page, full_page_bytes, smallest_page_bytes

__all__ = ["COMBINED", "EdgeTable", "EdgeTables", "LayerId", "MapSize", "PageAttribution", "PageContent", "PageFit"]
__all__ += ["PageMethod", "PageOutput", "fit_page", "full_page_bytes", "page_html", "smallest_page_bytes"]
__all__ += ["HeadQuality", "KindPoints", "LayerPoints", "QkPageContent", "QualityNumber", "qk_page_html"]
