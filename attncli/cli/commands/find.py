"""`attncli find`: which heads attend from some tokens to others."""

from attncli.cli.run_study import CommonOptions, run_study
from attncli.options import PictureOptions
from attncli.studies.find.options import FindOptions
from attncli.studies.find.study import FindStudy


def find(common: CommonOptions, options: FindOptions, pictures: PictureOptions) -> None:
    """Find the heads that attend from one word to another.

    Ranks all heads by their attention from --query to --key: the mean over the query tokens of the sum over the key
    tokens. Beside it stand the weight under uniform attention and by distance alone, the rank of the key among the keys
    of the row, and the strongest key of the row. Over several texts, all are means, with a standard deviation.

    Both names are the position of a token (7, or -1 for the last), a range (14-21), a segment (generated, assistant, a,
    source, or one of --segments), a word (it, or it#2 for its second occurrence), a special token ([CLS]) or all. The
    first that the text has is taken, in this order: it#1 is always a word. A word stands for all its occurrences.

    Writes find.json, find.csv and find.png, the row of the first head. In a pipe, prints find.csv; with --json
    find.json. Memory does not grow with the square of the text length.

    Example: attncli find --text "The cat sat on the mat because it was warm." --query it --key cat
    """
    run_study(FindStudy(options), common, pictures)
