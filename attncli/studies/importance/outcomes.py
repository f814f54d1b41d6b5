"""How edits change the output of a model for one text: of a language model, of a classifier, of a bare encoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import numpy as np
import torch

from attncli.capturing.gates import Gate, LayerKey
from attncli.capturing.recordings import RecordedText, logits_of
from attncli.capturing.reruns import Reruns
from attncli.data import Array

Tensor = torch.Tensor
Effects = dict[str, Array]
"""The effect of each row of a batch, [row], by measure."""
ROWS_OF_LOGITS = 512
"""Tokens, of all rows together, whose logits are computed at once."""


class Outcome(ABC):
    """The output of a model for one text, and how edits change it.

    measures  names of the effects, the main one first
    loss      loss of the unedited model in nats; NaN if the model has none
    """

    measures: ClassVar[tuple[str, ...]]
    loss: float = float("nan")

    def __init__(self, reruns: Reruns, recorded: RecordedText) -> None:
        self._reruns, self._recorded = reruns, recorded
        self._shortcut = reruns.begins_right(recorded)

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """The arguments of the forward pass."""
        return self._recorded.tensors

    @abstractmethod
    def effects(self, gates: Mapping[LayerKey, Gate], rows: int) -> Effects:
        """Return the effect of the gates of each row."""

    @abstractmethod
    def backward(self, gates: Mapping[LayerKey, Gate]) -> list[Tensor]:
        """Return the gradient of the loss by the factors of the gates, one for each layer of `gates`."""

    def gradients(self, factors: Mapping[LayerKey, Tensor] | None = None) -> dict[LayerKey, Array]:
        """Return |dL/dgate| of all heads, [head] for each layer; L is the loss in nats (per token).

        factors  [1, head] at which gradients are taken, for each layer where some are not 1
        """
        with torch.enable_grad():
            gates = {}
            for key, site in self._reruns.sites.items():
                factor = (factors or {}).get(key)
                if factor is None:
                    factor = torch.ones(1, site.heads, device=self._reruns.device)
                gates[key] = Gate(factor.requires_grad_())
            gradients = self.backward(gates)
        return {key: of_layer[0].abs().double().cpu().numpy() for key, of_layer in zip(gates, gradients, strict=True)}


class LanguageOutcome(Outcome):
    """The distributions of a language model at the positions that predict tokens.

    loss  mean over these of -ln p(token). `kl` is the mean of KL(unedited ‖ edited), both in nats per token
    """

    measures = ("loss", "kl")

    def __init__(
        self, reruns: Reruns, recorded: RecordedText, positions: Array, targets: Array, max_bytes: int | None
    ) -> None:
        """Compute the unedited distributions.

        positions  [n] rows of the logits
        targets    [n] token ids that they predict
        max_bytes  memory for logits; None for no limit
        """
        super().__init__(reruns, recorded)
        device = reruns.device
        self._positions, self._targets = (torch.as_tensor(ids, device=device) for ids in (positions, targets))
        self._max_bytes = max_bytes
        self._kept: dict[int, tuple[Tensor, Tensor]] = {}
        losses = []
        for part, logits in self._logits(self._states(), 1):
            self._bytes_of_token = logits.shape[-1] * 4
            losses.append(self._losses(logits[0], part))
        self.loss = float(torch.cat(losses).double().mean())

    def _losses(self, logits: Tensor, part: slice) -> Tensor:
        return torch.nn.functional.cross_entropy(logits, self._targets[part], reduction="none")

    def _states(self) -> Tensor | None:
        """Return the unedited hidden states at the positions; None if the model computes logits only as a whole."""
        if not self._reruns.splits:
            return None
        assert self._recorded.hidden is not None
        return self._recorded.hidden[:, self._positions]

    def _logits(self, states: Tensor | None, rows: int, output: Any = None) -> Iterator[tuple[slice, Tensor]]:
        """Yield the logits [row, token, vocabulary] of some positions at a time.

        states  hidden states at the positions; if None, the logits are those of `output`
        """
        count = len(self._positions)
        step = self._step(rows)
        for start in range(0, count, step):
            part = slice(start, min(count, start + step))
            if states is not None:
                yield part, self._reruns.logits(self._recorded, states[:, part])
            else:
                whole = logits_of(self._recorded.output if output is None else output)
                yield part, whole[:, self._positions[part]]

    def _step(self, rows: int) -> int:
        """Return how many positions are computed at once."""
        step = max(1, ROWS_OF_LOGITS // rows)
        if self._max_bytes is not None and hasattr(self, "_bytes_of_token"):
            # logits of all rows, those of the unedited model, their probabilities, and differences
            step = min(step, max(1, self._max_bytes // (2 * (rows + 3) * self._bytes_of_token)))
        return step

    def _unedited(self, part: slice) -> tuple[Tensor, Tensor]:
        """Return the unedited logits and probabilities of some positions, [token, vocabulary]."""
        known = self._kept.get(part.start)
        if known is not None and len(known[0]) == part.stop - part.start:
            return known
        states = self._states()
        if states is not None:
            logits = self._reruns.logits(self._recorded, states[:, part])[0]
        else:
            logits = logits_of(self._recorded.output)[0, self._positions[part]]
        both = logits, logits.softmax(-1)
        needed = 2 * len(self._positions) * self._bytes_of_token
        if self._max_bytes is None or 2 * needed <= self._max_bytes:
            self._kept[part.start] = both
        return both

    def effects(self, gates: Mapping[LayerKey, Gate], rows: int) -> Effects:
        """Return the change of the loss, and the KL divergence from the unedited distribution, in nats per token."""
        sums = {name: np.zeros(rows) for name in self.measures}
        states, output = None, None
        if self._reruns.splits:
            states = self._reruns.hidden(self._recorded, gates, rows, self._shortcut)[:, self._positions]
        else:
            output = self._reruns.outputs(self._recorded, gates, rows, self._shortcut)
        for part, logits in self._logits(states, rows, output):
            unedited, probabilities = self._unedited(part)
            targets = self._targets[part, None]
            for row in range(rows):
                loss, kl = changes(logits[row], unedited, probabilities, targets)
                sums["loss"][row] += float(loss.double().sum())
                sums["kl"][row] += float(kl.double().sum())
        return {name: total / len(self._positions) for name, total in sums.items()}

    def backward(self, gates: Mapping[LayerKey, Gate]) -> list[Tensor]:
        factors, count = [gate.factor for gate in gates.values()], len(self._positions)
        if not self._reruns.splits:
            logits = logits_of(self._reruns.outputs(self._recorded, gates, 1, shortcut=False))[0, self._positions]
            return list(torch.autograd.grad(self._losses(logits, slice(None)).mean(), factors))
        states = self._reruns.hidden(self._recorded, gates, 1, shortcut=False)[:, self._positions]
        gradients = torch.empty_like(states)
        for start in range(0, count, self._step(1)):
            part = slice(start, min(count, start + self._step(1)))
            some = states[:, part].detach().requires_grad_()
            loss = self._losses(self._reruns.logits(self._recorded, some)[0], part).sum() / count
            (gradients[:, part],) = torch.autograd.grad(loss, some)
        return list(torch.autograd.grad(states, factors, gradients))


def changes(logits: Tensor, unedited: Tensor, probabilities: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Return the change of -ln p(target), and KL(unedited ‖ edited), [token] in nats.

    logits         [token, vocabulary] with the edit, which are overwritten; `unedited` without
    probabilities  softmax of `unedited`
    targets        [token, 1]

    With the differences d of the logits and their mean D under the unedited distribution, KL = ln E[exp(d - D)]: small
    divergences do not drown in rounding errors. The loss changes by D + KL - d(target).
    """
    difference = logits.sub_(unedited)
    at_target = difference.gather(-1, targets)[:, 0]
    mean = _row_products(difference, probabilities)
    difference.sub_(mean[:, None])
    # differences this large have no probability: a bound keeps the product of 0 and infinity away
    grown = difference.clamp_(max=80.0).expm1_()
    kl = torch.log1p(_row_products(grown, probabilities))
    return mean + kl - at_target, kl


def _row_products(first: Tensor, second: Tensor) -> Tensor:
    """Return the inner product of each row of two matrices; on a CPU row by row, without a third matrix."""
    if first.device.type != "cpu":
        return torch.einsum("ij,ij->i", first, second)
    return torch.stack([torch.dot(*rows) for rows in zip(first, second, strict=True)])


class ClassOutcome(Outcome):
    """The classes that a classifier predicts, for the text or for each of its tokens.

    probability  change of the probability of the class that the unedited model predicts
    changed      share of predictions that change
    """

    measures = ("probability", "kl", "changed")

    def __init__(self, reruns: Reruns, recorded: RecordedText) -> None:
        super().__init__(reruns, recorded)
        self._unedited = self._distributions(recorded.output)[0]
        self._predicted = self._unedited.argmax(-1, keepdim=True)
        self.loss = float(-self._unedited.gather(-1, self._predicted).double().mean())

    def _distributions(self, output: Any) -> Tensor:
        """Return log probabilities [row, prediction, class]; the ends of an answer are two predictions."""
        scores: Tensor | None = logits_of(output)
        if scores is None:
            scores = torch.stack([output.start_logits, output.end_logits], 1)
        scores = scores.float() if scores.dtype in (torch.float16, torch.bfloat16) else scores
        return scores.reshape(len(scores), -1, scores.shape[-1]).log_softmax(-1)

    def effects(self, gates: Mapping[LayerKey, Gate], rows: int) -> Effects:
        edited = self._distributions(self._reruns.outputs(self._recorded, gates, rows, self._shortcut)).double()
        before = self._unedited.double()
        kl = (before.exp() * (before - edited)).sum(-1).mean(-1)
        predicted = self._predicted.expand(rows, *self._predicted.shape)
        probability = (edited.gather(-1, predicted).exp() - before.gather(-1, self._predicted).exp()).mean((-1, -2))
        changed = (edited.argmax(-1, keepdim=True) != predicted).double().mean((-1, -2))
        effects = {"probability": probability, "kl": kl, "changed": changed}
        return {name: effect.cpu().numpy() for name, effect in effects.items()}

    def backward(self, gates: Mapping[LayerKey, Gate]) -> list[Tensor]:
        edited = self._distributions(self._reruns.outputs(self._recorded, gates, 1, shortcut=False))[0]
        loss = -edited.gather(-1, self._predicted).mean()
        return list(torch.autograd.grad(loss, [gate.factor for gate in gates.values()]))


class StateOutcome(Outcome):
    """The last hidden states of a model without a head: 1 - cosine to the unedited ones, the mean over tokens."""

    measures = ("cosine_distance",)

    def effects(self, gates: Mapping[LayerKey, Gate], rows: int) -> Effects:
        edited = self._reruns.hidden(self._recorded, gates, rows, self._shortcut).double()
        assert self._recorded.hidden is not None
        before = self._recorded.hidden.double()
        difference = torch.nn.functional.normalize(edited, dim=-1) - torch.nn.functional.normalize(before, dim=-1)
        # half the squared distance of unit vectors is 1 - cosine, without its rounding error
        return {"cosine_distance": (difference.square().sum(-1) / 2).mean(-1).cpu().numpy()}

    def backward(self, gates: Mapping[LayerKey, Gate]) -> list[Tensor]:
        raise AssertionError("a model without a head has no loss")
