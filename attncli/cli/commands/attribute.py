"""`attncli attribute`: how much each token counts for a prediction, by several methods."""

from attncli.cli.run_study import CommonOptions, run_study
from attncli.corpus_options import CORPUS_DEFAULTS, CorpusOptions
from attncli.options import PictureOptions
from attncli.studies.attribute.options import AttributeOptions
from attncli.studies.attribute.study import AttributeStudy


def attribute(
    common: CommonOptions, options: AttributeOptions, pictures: PictureOptions, corpus: CorpusOptions = CORPUS_DEFAULTS
) -> None:
    """Compare how much each token counts for a prediction.

    Several methods side by side, each on the scale of its own sum: integrated-gradients (Sundararajan et al. 2017),
    input-x-gradient, gradient-norm, occlusion (the change without each token), shapley, and those of attention: the
    weights themselves, attention-x-gradient (Chefer et al. 2021), rollout and value-norm-rollout. --explain says what
    is predicted.

    With --words, --divide or --segments FILE, words or whole segments are compared: their tokens are summed, and
    occlusion leaves them out together.

    Writes attribution.json, attribution.csv, the text with colours (.html, .png), and bars; of several predictions
    (--explain labels, generated) a map of inputs and predictions instead. In a pipe, prints attribution.csv; with
    --json attribution.json. integrated-gradients need pip install "attncli[attribution]".

    Of several texts (--file, --dataset), writes tables only, part by part, so that memory does not grow:
    attribution.csv with the values of all texts, attribution-texts.csv, and attribution-methods.csv, which a pipe gets.
    An interrupted command continues.

    Example: attncli attribute --text "the cat sat on the [MASK] ." --method integrated-gradients,occlusion
    """
    run_study(AttributeStudy(options), common, pictures, corpus=corpus)
