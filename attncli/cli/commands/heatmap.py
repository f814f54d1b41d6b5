"""`attncli heatmap`: attention maps as pictures."""

from attncli.cli.run_study import CommonOptions, run_study
from attncli.options import PictureOptions
from attncli.studies.heatmap.options import HeatmapOptions
from attncli.studies.heatmap.study import HeatmapStudy


def heatmap(common: CommonOptions, options: HeatmapOptions, pictures: PictureOptions) -> None:
    """Draw attention maps.

    Nothing selected: one page per kind of attention with all layers and heads. A layer: a page of its heads, and
    their mean. A layer and a head: one heatmap. Heads without a layer: a page of these heads in all layers. Files
    are called KIND-grid, KIND-L03-grid, KIND-L03-mean, KIND-L03-H05; with several texts T000-KIND-grid and so on.
    In a pipe, prints the path of each picture.

    Texts may have any length. If a text has more tokens than --resolution, attention is pooled while it is computed,
    so that no whole map is in memory: all cells have equally many tokens, and a cell is the mean, or with --pool max
    the largest, of the weights of its visible query-key pairs. A page of many heads has no more cells than pixels.
    --rows and --keys select a part of the text: positions such as 14-21, a word, or a segment such as generated, whose
    rows are those that predict its tokens (attncli explain rows-as).

    Example: attncli heatmap --text "The cat sat on the mat." --layer 1 --head 0
    """
    run_study(HeatmapStudy(options), common, pictures)
