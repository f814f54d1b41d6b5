"""Options of `attncli find`."""

from dataclasses import dataclass

from attncli.options import RowsOptions, option
from attncli.vocabulary import TOKEN_NAMES


@dataclass(frozen=True)
class FindOptions(RowsOptions):
    """The two ends of the attention that is looked for, each a name of tokens."""

    query: str | None = option("Find", f"tokens that attend: {TOKEN_NAMES}", metavar="TOKENS")
    key: str | None = option("Find", "tokens that receive the attention, named in the same way", metavar="TOKENS")
    segments: str | None = option(
        "Find", "JSON file of segments that --query and --key can name (see explain segments-file)", metavar="FILE"
    )
