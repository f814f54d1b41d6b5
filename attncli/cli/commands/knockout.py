"""`attncli knockout`: which tokens or segments one prediction needs."""

from attncli.cli.run_study import CommonOptions, run_study
from attncli.options import PictureOptions
from attncli.studies.knockout.options import KnockoutOptions
from attncli.studies.knockout.study import KnockoutStudy


def knockout(common: CommonOptions, options: KnockoutOptions, pictures: PictureOptions) -> None:
    """Test which tokens or segments a prediction needs.

    Blocks the attention from the token that predicts to each other token, in all layers and in windows of layers, and
    shows how the probability of the prediction changes (Geva et al. 2023). --explain says what is predicted: the next
    token or another word, a whole answer, the word at a mask, or a label of a classifier.

    With --segments FILE or --divide, whole segments are blocked: which document does the answer need? Beside it stands
    the attention that each segment gets, and the change when as many random tokens are blocked.

    Only the attention of these rows is blocked: what other tokens have read before still arrives through them.

    Writes knockout.json, knockout.csv (blocked in all layers), knockout-layers.csv and a picture of layers and tokens.
    In a pipe, prints knockout.csv; with --json knockout.json. One text; a pass per token and layer, many in a batch.

    Example: attncli knockout --model demo:decoder --text "The city of Rome, the city of" --explain next
    """
    run_study(KnockoutStudy(options), common, pictures)
