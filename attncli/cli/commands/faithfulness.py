"""`attncli faithfulness`: do methods name the tokens that predictions need?"""

from attncli.cli.run_study import CommonOptions, run_study
from attncli.corpus_options import CORPUS_DEFAULTS, CorpusOptions
from attncli.options import PictureOptions
from attncli.studies.faithfulness.options import FaithfulnessOptions
from attncli.studies.faithfulness.study import FaithfulnessStudy


def faithfulness(
    common: CommonOptions,
    options: FaithfulnessOptions,
    pictures: PictureOptions,
    corpus: CorpusOptions = CORPUS_DEFAULTS,
) -> None:
    """Test whether methods name the tokens that a prediction needs.

    Removes the most important tokens of each text by each method of attncli attribute, always beside a random order
    and an order by position. Comprehensiveness: how much the probability of the prediction falls without the first 1,
    5, 10, 20 and 50 % of the tokens; sufficiency: how much with only these (DeYoung et al. 2020). Curves go from 0 to
    100 %. As the way of removing matters, tokens are removed in two ways, side by side (--removal).

    Beside that: whether methods agree; whether they find what people named (--rationales FILE); infidelity and maximal
    sensitivity (--robustness); whether the attention of chosen heads is needed, or other weights do (--needed).

    Give several texts, better 10 or more: from 6 on, numbers have 95 % intervals over texts.

    With --divide or --segments, whole segments are removed, and a further part says which of them, such as one of
    several documents, each prediction depends on (attncli explain documents).

    Writes faithfulness.json, faithfulness.csv, further tables for differences, shares and single texts, and the picture
    of the curves. In a pipe, prints faithfulness.csv; with --json faithfulness.json. An interrupted command continues
    where it stopped when it is given again. More than 1,000 texts are read in shards (--workers).

    Example: attncli faithfulness --model demo:classifier --text "I saw a chosen cat and some soup."
    """
    run_study(FaithfulnessStudy(options), common, pictures, corpus=corpus)
