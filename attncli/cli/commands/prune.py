"""`attncli prune`: how many heads does the model need?"""

from attncli.cli.run_study import CommonOptions, run_study
from attncli.options import PictureOptions
from attncli.studies.prune.options import PruneOptions
from attncli.studies.prune.study import PruneStudy


def prune(common: CommonOptions, options: PruneOptions, pictures: PictureOptions) -> None:
    """Remove the heads that matter least, and measure what the output loses.

    Ranks heads by the effect of removing each (as attncli importance does), or takes their order from --importance, and
    measures the output without more and more of them: the least important first, the most important first, and in
    random orders. One half of the texts ranks heads, the other gives the curve, unless --rank-file gives texts for the
    ranking.

    --heads, --share or --until-loss says where to stop; prune then states what the removal costs, beside random
    removals of as many heads. --save writes the model without them, --form says how.

    Writes prune.json, curve.csv, prune.csv (the heads in the order of their removal) and the picture curve.png. In a
    pipe, prints curve.csv; with --json prune.json.

    Example: attncli prune --text "The cat sat on the mat." --text "A dog ran home." --share 0.3
    """
    run_study(PruneStudy(options, force=common.output.force), common, pictures)
