"""A loaded model that runs any study, and tests of its heads."""

from dataclasses import dataclass, fields
from os import PathLike, fspath
from typing import Any, Unpack

from attncli.api.explaining import ExplainingRunner
from attncli.arguments import checks_arguments
from attncli.data import Statistics
from attncli.data.pair_weights import TokenName
from attncli.engine.request import RunOptions, metric_names
from attncli.engine.runner import Runner
from attncli.errors import UsageError
from attncli.inputs.corpus import Corpus
from attncli.inputs.corpus_pair import CorpusPair
from attncli.inputs.texts import Texts, parse_texts
from attncli.studies.compare.options import CompareOptions
from attncli.studies.compare.result import Comparison
from attncli.studies.compare.study import CompareStudy
from attncli.studies.importance.options import ImportanceMethod, ImportanceOptions, ImportanceUnit
from attncli.studies.importance.result import Importance
from attncli.studies.importance.study import ImportanceStudy
from attncli.studies.prune.options import PrunedForm, PruneOptions, PruningUnit
from attncli.studies.prune.result import Pruning
from attncli.studies.prune.study import PruneStudy
from attncli.studies.qk_map.options import MapMethod, QueryKeyMapOptions
from attncli.studies.qk_map.result import QueryKeyMap
from attncli.studies.qk_map.study import QueryKeyMapStudy
from attncli.studies.stats.options import StatsOptions
from attncli.studies.stats.study import StatsStudy
from attncli.vocabulary import ALL_METRICS, MAP_VECTORS, RANDOM_ORDERS


@checks_arguments
@dataclass(frozen=True, eq=False, repr=False)
class StudyRunner(ExplainingRunner):
    """A loaded model that runs studies of texts."""

    def stats(
        self,
        text: Texts | Corpus,
        *,
        pair: str | None = None,
        target: str | None = None,
        **run_options: Unpack[RunOptions],
    ) -> Statistics:
        """Return metrics of every head, mean over texts, in one pass that keeps no maps.

        text         one or several texts, or `attncli.corpus("corpus/*.parquet")`: of a corpus only sums are kept
        run_options  options of the forward pass; metrics names those that are measured, all by default
        """
        names = [field.name for field in fields(StatsOptions) if field.name in RunOptions.__annotations__]
        own: dict[str, Any] = {name: run_options.pop(name) for name in names if name in run_options}  # type: ignore[misc]
        metrics = metric_names(run_options.pop("metrics", None) or ALL_METRICS)
        options = StatsOptions(metric=list(metrics), **own)
        return self.study(StatsStudy(options), text, pair=pair, target=target, **run_options)

    def compare(
        self,
        text: Texts | Corpus,
        other: Runner | None = None,
        *,
        against: Corpus | None = None,
        **run_options: Unpack[RunOptions],
    ) -> Comparison:
        """Return how another model (B) attends differently to the same texts, or this model to another corpus.

        text         one or several texts, or `attncli.corpus("corpus/*.parquet")`: of a corpus only sums are kept
        other        the model B; this one by default
        against      the corpus that B reads instead of the corpus `text`
        run_options  options of the forward pass; metrics names those to compare, by default all that are amounts;
                     by="norm" compares value-weighted norms
        `attncli.compare` compares two runs. Needs `pip install "attncli[analyses]"` for 6 texts or more. Raise
        UsageError if there is nothing to compare, or if A and B have different heads, or different tokens of a text.
        """
        if other is None and against is None:
            raise UsageError("there is nothing to compare with: give another model, or a corpus as against")
        if against is not None and not isinstance(text, Corpus):
            raise UsageError("against goes with a corpus: give attncli.corpus(...) as the text too")
        metrics, by = run_options.pop("metrics", None), run_options.pop("by", "weight")
        options = CompareOptions(by, metric=None if metrics is None else list(metric_names(metrics)))
        texts = () if isinstance(text, Corpus) else parse_texts(text)
        study = CompareStudy(options, other=other or self, texts=texts, two_corpora=against is not None)
        read = CorpusPair.of(text, against) if isinstance(text, Corpus) and against is not None else text
        return self.study(study, read, **run_options)[0]

    def importance(
        self,
        text: Texts | Corpus,
        *,
        method: ImportanceMethod = "zero",
        unit: ImportanceUnit = "head",
        tokens: TokenName | None = None,
        seed: int = 0,
        pair: str | None = None,
        target: str | None = None,
        **run_options: Unpack[RunOptions],
    ) -> Importance:
        """Return how the output of the model changes without each head, the largest change first.

        method  zero: the output of a head becomes 0; mean: its mean over all tokens of the texts; gradient: the mean
                over texts of |dL/dgate|, of a factor on the output of the head
        unit    what is removed together: a head, the heads of a group that share keys and values, or those of a layer
        tokens  name of the tokens whose prediction counts, such as "generated" or "14-21"; all by default
        seed    chooses the tokens that are masked for a masked language model
        The output is that of the model's own head: of a base model, effects are distances of hidden states, so load
        a model with its head (`attncli.load(name, head="auto-head")`). Intervals need 6 texts or more, and
        `pip install "attncli[analyses]"`. Raise UsageError for a text without a predicted token, or gradients of a
        model without a head.
        """
        options = ImportanceOptions(method, unit, None if tokens is None else str(tokens), seed)
        return self.study(ImportanceStudy(options), text, pair=pair, target=target, **run_options)

    def prune(
        self,
        text: Texts,
        *,
        unit: PruningUnit = "head",
        importance: Importance | str | PathLike[str] | None = None,
        rank_texts: Texts | None = None,
        method: ImportanceMethod = "zero",
        steps: int = 1,
        heads: int | None = None,
        share: float | None = None,
        until_loss: str | float | None = None,
        save: str | PathLike[str] | None = None,
        form: PrunedForm = "zeroed",
        orders: int = RANDOM_ORDERS,
        seed: int = 0,
        **run_options: Unpack[RunOptions],
    ) -> Pruning:
        """Return what the output loses without more and more heads, the least important first.

        unit        what is removed at once: a head, or the heads of a group that share keys and values
        importance  result of `importance` or a file of `attncli importance`: its order is taken, nothing is measured
        rank_texts  texts that rank heads; by default a random half of the texts does, the other half gives the curve
        method      how a head is removed while it is ranked, as in `importance`: zero, mean or gradient
        steps       number of rankings: heads that are left are measured again after each 1/steps of all heads
        heads, share, until_loss  where to stop, at most one of them: a number of heads, a share of them, or a rise of
                    the loss on the ranking texts such as "+2%" or 0.1 (nats per token)
        save        folder for the model without the removed heads; it must not exist, or be empty
        form        of the saved model. zeroed: same shapes, zeros in W_O; smaller: equally many key heads out of every
                    layer, which the configuration must accept; irregular: cut projections, for `attncli.load_pruned`
        orders      number of random orders, 5 or more
        seed        chooses the halves, the random orders and the tokens that are masked for a masked language model
        Raise UsageError if there is one text only and nothing else ranks heads, or if the rise is not reached or is
        exceeded at once, OutputError if the folder holds something, and ModelError if the model has no such form.
        """
        ranked, file = (importance, None) if isinstance(importance, Importance) else (None, importance)
        rise = None if until_loss is None else str(until_loss)
        folder = None if save is None else fspath(save)
        options = PruneOptions(
            unit,
            None if file is None else fspath(file),
            method=method,
            steps=steps,
            heads=heads,
            share=share,
            until_loss=rise,
            save=folder,
            form=form,
            orders=orders,
            seed=seed,
        )
        given = None if rank_texts is None else parse_texts(rank_texts)
        return self.study(PruneStudy(options, ranked, given), text, **run_options)

    def qk_map(
        self,
        text: Texts,
        *,
        vectors: int = MAP_VECTORS,
        method: MapMethod = "pca",
        seed: int = 0,
        pair: str | None = None,
        target: str | None = None,
        **run_options: Unpack[RunOptions],
    ) -> QueryKeyMap:
        """Return queries and keys of every head as points of a plane, and how true that map is; no maps are kept.

        vectors  number of vectors of each head that are sampled from all texts: half queries, half keys
        method   how vectors become points: pca, tsne, or umap, which needs `pip install "attncli[umap]"`
        seed     chooses the sampled tokens, and starts umap
        Needs `pip install "attncli[analyses]"`. Raise UsageError if the texts have too few tokens for the method, and
        ModelError for a model without query and key vectors, or with vectors that are not finite.
        """
        options = QueryKeyMapOptions(vectors, method, seed=seed)
        return self.study(QueryKeyMapStudy(options), text, pair=pair, target=target, **run_options)
