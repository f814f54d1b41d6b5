"""Labels of classifiers as predictions: which one is meant, and how its probability is computed."""

from __future__ import annotations

from typing import Literal

import torch

from attncli.engine.explain_request import ExplainRequest
from attncli.errors import ModelError, UsageError, did_you_mean
from attncli.models import Loaded

By = Literal["softmax", "sigmoid", "number"]
"""How a probability is computed: among all tokens or labels; of each label by itself; or there is none."""


def label_names(loaded: Loaded, count: int) -> list[str]:
    """Return the names of the labels of a classifier."""
    names = getattr(loaded.model.config, "id2label", None) or {}
    return [str(names.get(number, number)) for number in range(count)]


def label_number(loaded: Loaded, wanted: ExplainRequest, logits: torch.Tensor) -> int:
    """Return the number of the label that is meant: that of a name or number, or the most probable one.

    logits  [label]
    Raise UsageError if the model lacks the label, or if the request does not name a label.
    """
    if wanted.form not in ("label", "next"):
        raise UsageError(f"{type(loaded.model).__name__} predicts labels: use --explain label:NAME, labels or next")
    if wanted.form == "next":
        return int(logits.argmax())
    names = label_names(loaded, len(logits))
    if wanted.value in names:
        return names.index(wanted.value)
    if wanted.value.isdigit() and int(wanted.value) < len(names):
        return int(wanted.value)
    raise UsageError(
        f"--explain: there is no label '{wanted.value[:60]}': the labels are {', '.join(names[:20])}; "
        f"{did_you_mean(wanted.value, names)}"
    )


def hypothesis(label: str) -> str:
    """Return what a model of natural language inference is asked about a text, as pipelines of Transformers ask it.

    >>> hypothesis("sport")
    'This example is sport.'
    """
    return f"This example is {label}."


def entailment(loaded: Loaded, logits: torch.Tensor) -> int:
    """Return the number of the label that a model of natural language inference gives to hypotheses that follow.

    Raise ModelError if the model is no classifier of texts, or has no label of this name.
    """
    name = type(loaded.model).__name__
    names = label_names(loaded, logits.shape[-1]) if logits.dim() == 2 else []
    number = next((number for number, label in enumerate(names) if label.lower().startswith("entail")), None)
    if number is None:
        listed = f"has the labels {', '.join(names[:20])}" if names else "is no classifier of texts"
        raise ModelError(
            f"--explain zero-shot:LABEL needs a model of natural language inference with a label entailment: {name} "
            f"{listed}"
        )
    return number


def probability_of_labels(loaded: Loaded, count: int) -> By:
    """Return how the probabilities of the labels of a classifier are computed.

    count  number of labels
    """
    if count == 1:
        return "number"
    several = getattr(loaded.model.config, "problem_type", None) == "multi_label_classification"
    return "sigmoid" if several else "softmax"
