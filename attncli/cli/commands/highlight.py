"""`attncli highlight`: attention shown on the text itself."""

from attncli.cli.run_study import CommonOptions, run_study
from attncli.options import PictureOptions
from attncli.studies.highlight.options import HighlightOptions
from attncli.studies.highlight.study import HighlightStudy


def highlight(common: CommonOptions, options: HighlightOptions, pictures: PictureOptions) -> None:
    """Show attention on the text itself.

    The colour behind each token is the attention that it receives from --focus, or with --direction to, the attention
    that it gives to the focus. The focus is the position of a token (7, or -1 for the last), a range such as 14-21, a
    segment (generated, user, a), a word (all its occurrences, a line each), it#2 for the second of them, a special
    token such as [CLS], or all for a line each. From several tokens it is the mean over them, to them the sum. The rows
    of generated and assistant are those that predict their tokens (attncli explain rows-as).

    Nothing selected: the mean over all layers and heads. Several layers or heads: a line each, or combined with
    --aggregate mean. Files are called KIND-L03-H01-it.html and .svg; with --direction to KIND-L03-H01-to-it. On a
    terminal, shows the text in colour; in a pipe, prints the path of each file. Only the rows of the focus are kept, so
    that a text of any length is possible.

    Example: attncli highlight --text "The cat sat on the mat because it was warm." --focus it --layer 1 --head 0
    """
    run_study(HighlightStudy(options), common, pictures)
