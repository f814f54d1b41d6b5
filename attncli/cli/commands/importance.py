"""`attncli importance`: does the output change without a head?"""

from attncli.cli.run_study import CommonOptions, run_study
from attncli.corpus_options import CORPUS_DEFAULTS, CorpusOptions
from attncli.options import PictureOptions
from attncli.studies.importance.options import ImportanceOptions
from attncli.studies.importance.study import ImportanceStudy


def importance(
    common: CommonOptions, options: ImportanceOptions, pictures: PictureOptions, corpus: CorpusOptions = CORPUS_DEFAULTS
) -> None:
    """Rank heads by how much the output of the model changes without them.

    Removes each head (or group, or layer) in turn and measures the change on the texts: of a language model the loss
    and the KL divergence in nats per token, of a masked one on 15 % masked tokens, of an encoder-decoder the loss of
    the target; of a classifier the probability of the predicted class, KL and the share of changed labels; of a model
    without a head 1 - cosine of the last hidden states. The model is loaded with the head of its checkpoint. With
    edits, such as --zero 3.1, heads are removed from the edited model: what do the others matter once 3.1 is gone?

    From 6 texts on, effects have 95 % intervals over texts, and p-values that are adjusted for all heads. Beside them
    stand the statistics of attention, and how well each of them predicts the effects. Dead heads are listed.

    Writes importance.json, importance.csv, importance-attention.csv, and the pictures importance.png (layers x heads)
    and importance-ranked.png. In a pipe, prints importance.csv; with --json importance.json. An interrupted command
    continues where it stopped when it is given again. --aggregate weights:importance.json combines heads by these
    numbers in other commands.

    Example: attncli importance --model demo:decoder --text "The cat sat. The dog ran. The cat sat. The dog ran."
    """
    run_study(ImportanceStudy(options), common, pictures, corpus=corpus)
