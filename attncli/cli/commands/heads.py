"""`attncli heads`: heads with similar attention."""

from attncli.cli.run_study import CommonOptions, run_study
from attncli.corpus_options import CORPUS_DEFAULTS, CorpusOptions
from attncli.options import PictureOptions
from attncli.studies.heads.options import HeadsOptions
from attncli.studies.heads.study import HeadsStudy


def heads(
    common: CommonOptions, options: HeadsOptions, pictures: PictureOptions, corpus: CorpusOptions = CORPUS_DEFAULTS
) -> None:
    """Group heads with similar attention.

    The distance between two heads of any layers is the root of the Jensen-Shannon divergence of their rows, averaged
    over rows and texts: from 0 to 0.833; of long texts at most 128 evenly spread rows are compared. Close heads form
    clusters, and redundant pairs are listed. Each distance has two baselines: what position alone gives, and the same
    text with its tokens shuffled. Heads that are as close on shuffled tokens are similar for any text. The
    tables of layers show whether tokens become similar, in their rows and in their hidden states.

    Writes heads.json, heads.csv, heads-pairs.csv, heads-layers.csv (see attncli explain heads.json) and the pictures
    heads-map.png, heads-dendrogram.png, heads-distances.png and heads-layers.png. In a pipe, prints heads.csv; with
    --json heads.json. Needs pip install "attncli[analyses]".

    Example: attncli heads --text "The cat sat on the mat because it was warm." --clusters 4
    """
    run_study(HeadsStudy(options), common, pictures, corpus=corpus)
