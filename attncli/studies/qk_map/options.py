"""Options of `attncli qk-map`."""

from dataclasses import dataclass
from typing import Literal

from attncli.options import option
from attncli.vocabulary import MAP_COLOURS, MAP_METHODS, MAP_VECTORS

MapMethod = Literal["pca", "tsne", "umap"]


@dataclass(frozen=True)
class QueryKeyMapOptions:
    """How many vectors are sampled, how they become points, and what colours show.

    vectors  number of sampled vectors of each head: half of them queries, half of them keys
    method   how vectors become points: pca, tsne or umap
    seed     chooses the sampled tokens, and the random numbers of umap (tsne has none)
    color    what the colours of the pictures show: side, position, type, norm or text
    """

    vectors: int = option(
        "Map", "vectors of each head that are sampled: half queries, half keys", metavar="N", default=MAP_VECTORS
    )
    method: str = option(
        "Map", "how vectors become points", metavar="|".join(MAP_METHODS), choices=MAP_METHODS, default=MAP_METHODS[0]
    )
    color: str = option("Map", "what colours of the pictures show", choices=MAP_COLOURS, default=MAP_COLOURS[0])
    seed: int = option("Map", "chooses the tokens, and starts umap", metavar="N", default=0)
