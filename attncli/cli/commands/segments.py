"""`attncli segments`: how much attention goes between the parts of a text."""

from attncli.cli.run_study import CommonOptions, run_study
from attncli.options import PictureOptions
from attncli.studies.segments.options import SegmentsOptions
from attncli.studies.segments.study import SegmentsStudy


def segments(common: CommonOptions, options: SegmentsOptions, pictures: PictureOptions) -> None:
    """Measure how much attention goes between the parts of a text.

    The parts are the two texts of --pair, the roles of --chat, the tokens of --generate, paragraphs, lines, sentences,
    or the passages that --segments names. Special tokens are a part of their own, unless --special drop.

    The share from one part to another is a mean over the tokens of the first and a sum over the keys of the second.
    Each share has two baselines: the share under uniform weights over the visible keys, as long parts get more by their
    length alone, and the share that position alone gives.

    What does the answer read? With --generate, the heads come first that give most to a part of the prompt from where
    the answer is predicted, and the heads that copy from it (attncli explain retrieval, rows-as). --query and --key
    select parts: --query generated --key user ranks the heads by their attention from the answer to the question.

    Writes segments.json, segments.csv (every head), segments-mean.csv, pictures of the strongest heads and of the mean,
    and a page of all heads; with --generate also segments-tokens.csv and a picture of each generated token. In a pipe,
    prints segments.csv; with --json segments.json. Memory does not grow with the length of the text.

    Example: attncli segments --text "Who sat on the mat?" --pair "The cat sat on the mat."
    """
    run_study(SegmentsStudy(options), common, pictures)
