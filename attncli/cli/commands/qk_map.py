"""`attncli qk-map`: queries and keys of every head as points of one map."""

from attncli.cli.run_study import CommonOptions, run_study
from attncli.options import PictureOptions
from attncli.studies.qk_map.options import QueryKeyMapOptions
from attncli.studies.qk_map.study import QueryKeyMapStudy


def qk_map(common: CommonOptions, options: QueryKeyMapOptions, pictures: PictureOptions) -> None:
    """Show the queries and keys of every head as points of one map.

    Samples query and key vectors from many texts, and moves and scales them without a change of attention, so that a
    query is near the keys that it attends to (AttentionViz, Yeh et al. 2023). Two numbers say for each head how true
    its map is: the rank correlation of nearness with attention weight, and the share of queries whose strongest key
    is among their 10 nearest. Both are also given for vectors of all dimensions, and for random points.

    Writes qk-map.json, qk-map.csv with a row per head, qk-map.html, a page without a network on which maps are zoomed,
    searched and selected from, and pictures: qk-map.png with all heads, or the map of one head for --layer 3 --head 5.
    --format parquet adds the points, and the vectors for other tools. In a pipe, prints
    qk-map.csv; with --json qk-map.json. Needs pip install "attncli[analyses]".

    Example: attncli qk-map --text "The cat sat on the mat because it was warm." --method pca
    """
    run_study(QueryKeyMapStudy(options), common, pictures)
