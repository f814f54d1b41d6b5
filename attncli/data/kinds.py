"""The words for a kind of attention in titles: this is the one place where a kind becomes words."""

from dataclasses import dataclass, field

from attncli.data.grouped_heads import GroupedHeads
from attncli.data.tokens import Kind, RowsAs, base_kind

_TITLES: dict[Kind, str] = {
    "encoder": "encoder self-attention",
    "decoder": "decoder self-attention",
    "cross": "cross-attention",
}
_WAYS: dict[Kind, str] = {"encoder": "encoder", "decoder": "decoder", "cross": "decoder to encoder"}


@dataclass(frozen=True)
class KindNames:
    """What pictures and terminal tables say about the kinds of attention of a run.

    known    whether the kinds are known; those of maps of other tools are not, unless the user named them: then no
             title names a kind
    grouped  which heads share keys and values

    >>> KindNames().title("cross"), KindNames(known=False).title("cross")
    ('cross-attention', '')
    """

    known: bool = True
    grouped: GroupedHeads = field(default_factory=GroupedHeads)

    def title(self, kind: Kind) -> str:
        """Return the kind for a title of several parts; empty if it is not known.

        >>> KindNames().title("encoder-pooled-4x4")
        'encoder self-attention, pooled 4x4'
        """
        if not self.known:
            return ""
        scale = kind.partition("-")[2].replace("-", " ")
        return f"{_TITLES[base_kind(kind)]}{f', {scale}' if scale else ''}"

    def sides(self, kind: Kind) -> tuple[str, str]:
        """Return what the tokens of rows and of columns are called.

        >>> KindNames().sides("cross"), KindNames().sides("decoder"), KindNames(known=False).sides("cross")
        (('target', 'source'), ('query', 'key'), ('query', 'key'))
        """
        return ("target", "source") if self.known and base_kind(kind) == "cross" else ("query", "key")

    def axes(self, kind: Kind, rows_as: RowsAs | None = None) -> tuple[str, str]:
        """Return the titles of the rows and of the columns of a map.

        A row of cross-attention says whether its label is the token that the decoder reads in this row, or the one that
        the row predicts; other rows say it if they are named by what they predict.

        >>> KindNames().axes("cross"), KindNames().axes("decoder", "predicted")
        (('target token (read)', 'source token'), ('query token (predicted)', 'key token'))
        """
        row, column = self.sides(kind)
        how = " (predicted)" if rows_as == "predicted" else " (read)" if row == "target" else ""
        return f"{row} token{how}", f"{column} token"

    def flow_axes(self, kind: Kind, rows_as: RowsAs | None = None) -> tuple[str, str]:
        """Return the titles of the rows and of the columns of a flow from the top to the input.

        >>> KindNames().flow_axes("encoder"), KindNames().flow_axes("cross", "predicted")
        (('token at the top', 'input token'), ('target token at the top (predicted)', 'source token'))
        """
        row, column = self.axes(kind, rows_as)
        if "key" in column:
            row, column = row.replace("query token", "token"), "input token"
        words, how = row.split(" (")[0], row.partition(" (")
        return f"{words} at the top{''.join(how[1:])}", column

    def attention(self, kind: Kind) -> str:
        """Return the kind for a short line of a terminal: `encoder attention`, or `attention` if it is not known."""
        return f"{kind} attention" if self.known else "attention"

    def way(self, kind: Kind) -> str:
        """Return the way of information from the top to the input; empty if the kind is not known."""
        return _WAYS[kind] if self.known else ""

    def columns(self, cell: str) -> list[str]:
        """Return the cell of a terminal table's column of kinds; none, without that column, if they are not known."""
        return [cell] if self.known else []


KNOWN = KindNames()
