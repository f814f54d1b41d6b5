"""Methods that read attention: the weights themselves, rollout, and weights times their gradients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch

from attncli.capturing import bind
from attncli.capturing.bound_edits import BoundEdits
from attncli.capturing.edited_weights import Span, WeightEdit
from attncli.capturing.intercept import CallKey
from attncli.capturing.word_vectors import Side
from attncli.data import KINDS, Array, Kind, base_kind
from attncli.engine.explained import Explained
from attncli.engine.passes import Pass
from attncli.engine.progress import Track
from attncli.errors import ModelError, UsageError
from attncli.stream import AttentionOfRows
from attncli.studies.attribute.predictions import Predictions
from attncli.studies.flow.layer_steps import LayerSteps, VariantMaps, stacking_order
from attncli.studies.flow.rollout import Rollout

Tensor = torch.Tensor
Rows = Mapping[Kind, Array]


def predicting_rows(predictions: Predictions, output: Explained) -> dict[Kind, Array]:
    """Return the rows of each kind of attention from which a prediction is computed.

    Raise UsageError if the selected kinds of attention have none.
    """
    kinds = list(dict.fromkeys(kind for kind, _ in predictions.prepared.heads))
    rows = {kind: output.query_rows(predictions.text, kind) for kind in kinds}
    rows = {kind: of_kind for kind, of_kind in rows.items() if len(of_kind)}
    if not rows:
        raise UsageError(f"no row of {' and '.join(kinds)} attention predicts: select another --kind")
    return rows


def side_of(predictions: Predictions, kind: Kind) -> Side:
    """Return the side whose tokens are the keys of a kind of attention."""
    return "target" if predictions.text.target is not None and base_kind(kind) == "decoder" else "source"


class MeanAttention:
    """The mean weights from the rows that predict, over layers and heads, from the sinks that received attention."""

    def __init__(self, predictions: Predictions) -> None:
        self._predictions, heads = predictions, predictions.prepared.heads
        self._rows = [predicting_rows(predictions, output) for output in predictions.outputs]
        keys = [tuple((kind, tuple(rows.tolist())) for kind, rows in of.items()) for of in self._rows]
        by_key = {
            key: AttentionOfRows(predictions.text, rows, heads) for key, rows in zip(keys, self._rows, strict=True)
        }
        self.sinks = list(by_key.values())
        self._of_output = [by_key[key] for key in keys]

    def values(self) -> list[dict[Side, Array]]:
        """Return for each output the mean weight of each token, by side."""
        return [self._mean(sink, rows) for sink, rows in zip(self._of_output, self._rows, strict=True)]

    def _mean(self, sink: AttentionOfRows, rows: Rows) -> dict[Side, Array]:
        by_side: dict[Side, Array] = {}
        for kind in rows:
            layers = [weights for (of, _), weights in sink.weights.items() if of == kind]
            by_side[side_of(self._predictions, kind)] = np.mean(layers, axis=0)
        return by_side


class RolledOut:
    """The rollout of the rows that predict: the share of each token in them if attention alone mixes tokens.

    prepared  the pass that the sinks receive; that of the predictions if None. Rows of norms are scaled to sum to 1
    """

    def __init__(self, predictions: Predictions, prepared: Pass | None = None) -> None:
        self._predictions, self._rollout = predictions, Rollout()
        given = predictions.prepared if prepared is None else prepared
        heads = {key: of for key, of in given.heads.items() if key[0] in KINDS}
        self.sinks = [LayerSteps(heads, self._add, normalize=given.request.by == "norm")]

    @classmethod
    def of_norms(cls, predictions: Predictions, track: Track) -> RolledOut:
        """Return the rollout of value-weighted norms, after a pass of its own; ModelError if the model has none."""
        plain = predictions.prepared
        request = replace(plain.request, by="norm", keep_maps=False)
        prepared = Pass.prepare(plain.loaded, plain.plan, plain.batches, request)
        rolled = cls(predictions, prepared)
        prepared.gather(track, more=rolled.sinks)
        return rolled

    def _add(self, text: int, kind: Kind, layer: int, maps: VariantMaps) -> None:
        self._rollout.add(kind, maps[0])

    def values(self) -> list[dict[Side, Array]]:
        """Return for each output the share of each token, by side."""
        of_outputs = []
        for output in self._predictions.outputs:
            rows = predicting_rows(self._predictions, output)
            shares = {kind: self._rollout.of(kind)[of_kind].mean(0) for kind, of_kind in rows.items()}
            of_outputs.append({side_of(self._predictions, kind): share for kind, share in shares.items()})
        return of_outputs


@dataclass(eq=False)
class _Weights:
    """The weights of all calls in one pass, in blocks of rows as the model used them."""

    blocks: dict[CallKey, list[Tensor]] = field(default_factory=dict)

    def keep(self, key: CallKey, weights: Tensor, rows: Span, keys: Span) -> Tensor:
        if not weights.requires_grad:  # parameters that are frozen give the first layer no gradients
            weights = weights.detach().requires_grad_()
        self.blocks.setdefault(key, []).append(weights)
        return weights


def attention_x_gradient(predictions: Predictions) -> list[dict[Side, Array]]:
    """Return for each output the relevance of each token, by side, after Chefer et al. 2021; one forward pass.

    The map of a layer is the mean over its heads of the positive part of weight times gradient of the score. Maps are
    multiplied through the layers as in rollout, without the scaling of rows.
    """
    predictions.copies(gradients=True, weights=True)
    kept = _Weights()
    scores = predictions.scores(gradients=True, edits=_recording(predictions, kept))[0]
    sites = {(site.kind, site.layer): site for site in predictions.prepared.plan.sites}
    order = [key for key in stacking_order(predictions.prepared.heads) if sites[key].key in kept.blocks]
    inputs = [block for key in order for block in kept.blocks[sites[key].key]]
    of_outputs = []
    for score, output in zip(scores, predictions.outputs, strict=True):
        gradients = iter(predictions.gradients_of(score, inputs))
        relevance = _Relevance(predictions)
        for key in order:
            blocks, heads = kept.blocks[sites[key].key], list(predictions.prepared.heads[key])
            maps = [(block * next(gradients)).detach()[0, heads].double().clamp_min(0).mean(0) for block in blocks]
            relevance.add(key[0], torch.cat(maps).cpu().numpy())
        of_outputs.append(relevance.of(predicting_rows(predictions, output)))
    return of_outputs


def _recording(predictions: Predictions, kept: _Weights) -> BoundEdits:
    """Return the edits of the model, followed by some that change nothing and keep the weights of each call.

    Raise ModelError if the weights of a selected layer cannot be edited.
    """
    prepared = predictions.prepared
    keeping = []
    for site in prepared.plan.sites:
        if (site.kind, site.layer) not in prepared.heads:
            continue
        if site.no_edits:
            raise ModelError(f"attention-x-gradient: weights of {site.label} have no gradients: {site.no_edits}")
        every = torch.ones((1, site.heads, 1, 1), dtype=torch.bool)
        keeping.append((site, [WeightEdit("replace", every, change=partial(kept.keep, site.key))]))
    own = bind(prepared.plan, [predictions.text], prepared.loaded.edits, prepared.loaded.name)
    return own.followed_by(keeping)


class _Relevance:
    """The relevance of each token of the input for each token, layer by layer (Chefer et al. 2021, equations 5 to 11).

    It begins as the identity, which is left out of the result: a token is not relevant by being itself.
    """

    def __init__(self, predictions: Predictions) -> None:
        self._predictions = predictions
        self._own = {side: np.eye(len(tokens)) for side, tokens in predictions.tokens.items()}
        target = self._own.get("target")
        self._across = None if target is None else np.zeros((len(target), len(self._own["source"])))

    def add(self, kind: Kind, weights: Array) -> None:
        """Add the map [query, key] of the next layer, in the order of `stacking_order`."""
        if kind == "cross":
            assert self._across is not None
            target, source = (_scaled(self._own[side]) for side in ("target", "source"))
            self._across = self._across + target.T @ weights @ source
            return
        side = side_of(self._predictions, kind)
        self._own[side] = self._own[side] + weights @ self._own[side]
        if side == "target" and self._across is not None:
            self._across = self._across + weights @ self._across

    def of(self, rows: Rows) -> dict[Side, Array]:
        """Return the mean relevance of each token for some rows, by side."""
        by_side: dict[Side, Array] = {}
        for kind, of_kind in rows.items():
            if kind == "cross":
                assert self._across is not None
                by_side["source"] = self._across[of_kind].mean(0)
            else:
                side = side_of(self._predictions, kind)
                own = self._own[side]
                by_side[side] = (own - np.eye(len(own)))[of_kind].mean(0)
        return by_side


def _scaled(relevance: Array) -> Array:
    """Return relevance with the rows of what was added to the identity scaled to sum to 1."""
    identity = np.eye(len(relevance))
    added = relevance - identity
    total = added.sum(1, keepdims=True)
    scaled: Array = added / np.where(total > 0, total, 1) + identity
    return scaled
