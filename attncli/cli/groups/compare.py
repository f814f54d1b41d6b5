"""The options that say what is compared with what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from attncli.cli.options import option


def _b(*names: str, **more: Any) -> Any:
    return option("Comparison", *names, **more)


@dataclass(frozen=True)
class OtherOptions:
    """How B differs from A; of `compare` alone."""

    dtype_b: Annotated[
        str | None,
        _b("--dtype-b", among=("float32", "bfloat16", "float16"), help="the precision of B, where it is not that of A"),
    ] = None
    revision_b: Annotated[
        str | None,
        _b("--revision-b", metavar="NAME", help="branch, tag or commit of B on the Hub"),
    ] = None
    against_text: Annotated[
        list[str] | None,
        _b("--against-text", metavar="TEXT", help="what B reads instead of --text; as often as that"),
    ] = None
    metric: Annotated[
        list[str] | None,
        _b("--metric", metavar="NAME", help="only the change of this one; may be repeated (see attncli explain)"),
    ] = None
