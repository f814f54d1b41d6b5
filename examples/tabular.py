"""Train a small Transformer on the features of tumours, and compare its attention with what its output depends on.

    python examples/tabular.py --out outputs/tabular

Each feature is a token, so that attention goes from feature to feature: the table of scikit-learn's breast-cancer data
has 30 of them. It takes less than a minute on two cores, and needs `pip install "attncli[analyses,attribution]"`.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from captum.attr import IntegratedGradients
from matplotlib.figure import Figure
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler
from torch import nn
from torch.nn import functional

import attncli
from attncli.nn import InterpretableMultiHeadAttention

METHODS = ("attention", "integrated gradients", "permutation")
READER = "[CLS]"
"""The token that the classifier reads; it has no feature of its own."""


@dataclass(frozen=True)
class Table:
    """Standardised features and labels (1: benign), for training and for testing."""

    names: list[str]
    train: tuple[torch.Tensor, torch.Tensor]
    test: tuple[torch.Tensor, torch.Tensor]


def load_table() -> Table:
    """Return the breast-cancer data, three quarters of it for training."""
    data = load_breast_cancer()
    parts = train_test_split(data.data, data.target, test_size=0.25, stratify=data.target, random_state=0)
    scaler = StandardScaler().fit(parts[0])
    train, test = (torch.tensor(scaler.transform(part), dtype=torch.float32) for part in parts[:2])
    labels = [torch.tensor(part, dtype=torch.float32) for part in parts[2:]]
    return Table([str(name) for name in data.feature_names], (train, labels[0]), (test, labels[1]))


class Block(nn.Module):
    """A Transformer block whose attention can be read."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
        self.attention = InterpretableMultiHeadAttention(width // heads, heads, embed_dim=width)
        self.features = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return the tokens after attention and two linear layers."""
        tokens = tokens + self.attention(self.norms[0](tokens))
        return tokens + self.features(self.norms[1](tokens))


class FeatureTransformer(nn.Module):
    """A classifier of rows of a table: each feature is a token, its value times a vector that is learned."""

    def __init__(self, features: int, width: int = 32, heads: int = 4, layers: int = 2) -> None:
        super().__init__()
        self.scale = nn.Parameter(0.3 * torch.randn(features, width) / width**0.5)
        self.names = nn.Parameter(torch.randn(features, width) / width**0.5)
        self.reader = nn.Parameter(torch.zeros(1, 1, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.output = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 1))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the logit of each row, [row, feature] → [row]."""
        tokens = rows[..., None] * self.scale + self.names
        tokens = torch.cat([self.reader.expand(len(rows), -1, -1), tokens], 1)
        return self.output(self.blocks(tokens)[:, 0])[:, 0]


def train(table: Table, epochs: int, seed: int = 0) -> FeatureTransformer:
    """Return a model that was trained on the table."""
    torch.manual_seed(seed)
    rows, labels = table.train
    model = FeatureTransformer(rows.shape[1])
    # slow enough that the test rows still gain: the table is small
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    for _ in range(epochs):
        for part in torch.randperm(len(rows)).split(64):
            loss = functional.binary_cross_entropy_with_logits(model(rows[part]), labels[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model.eval()


def accuracy(model: FeatureTransformer, rows: torch.Tensor, labels: torch.Tensor) -> float:
    """Return the share of rows whose label the model predicts."""
    with torch.no_grad():
        return float(((model(rows) > 0) == (labels > 0.5)).float().mean())


def mean_attention(model: FeatureTransformer, rows: torch.Tensor) -> np.ndarray:
    """Return the attention of each layer and head, the mean over rows: [layer, head, query, key]."""
    with torch.no_grad():
        model(rows)
    return np.stack([block.attention.attention_scores.mean(0).numpy() for block in model.blocks])


def by_integrated_gradients(model: FeatureTransformer, rows: torch.Tensor) -> np.ndarray:
    """Return how much each feature moves the logit away from that of a mean tumour: the mean of |attribution|."""
    attributions = IntegratedGradients(model).attribute(rows, baselines=torch.zeros_like(rows), n_steps=32)
    return attributions.abs().mean(0).detach().numpy()


def by_permutation(model: FeatureTransformer, rows: torch.Tensor, labels: torch.Tensor, repeats: int) -> np.ndarray:
    """Return how much the loss rises if the values of a feature are exchanged between the rows."""

    def loss(changed: torch.Tensor) -> float:
        with torch.no_grad():
            return float(functional.binary_cross_entropy_with_logits(model(changed), labels))

    generator, before = torch.Generator().manual_seed(0), loss(rows)
    rises = np.zeros(rows.shape[1])
    for feature in range(rows.shape[1]):
        for _ in range(repeats):
            changed = rows.clone()
            changed[:, feature] = rows[torch.randperm(len(rows), generator=generator), feature]
            rises[feature] += (loss(changed) - before) / repeats
    return rises


def importance(model: FeatureTransformer, table: Table, repeats: int = 5) -> pd.DataFrame:
    """Return the importance of each feature on the test rows by three methods, most attention first."""
    rows, labels = table.test
    columns = (
        mean_attention(model, rows)[-1].mean(0)[0, 1:],  # what the reader reads in the last layer, mean over heads
        by_integrated_gradients(model, rows),
        by_permutation(model, rows, labels, repeats),
    )
    frame = pd.DataFrame(dict(zip(METHODS, columns, strict=True)), index=pd.Index(table.names, name="feature"))
    return frame.sort_values(METHODS[0], ascending=False)


def open_attention(weights: np.ndarray, names: list[str], folder: Path) -> attncli.Run:
    """Write weights as an array file with the names of its tokens, and return them as a run."""
    folder.mkdir(parents=True, exist_ok=True)
    path, labels = folder / "attention.npy", folder / "tokens.txt"
    np.save(path, weights[:, None])
    labels.write_text("\n".join([READER, *names]) + "\n", encoding="utf-8")
    return attncli.open(path, labels=labels, axes="layer,batch,head,query,key")


def draw_importance(frame: pd.DataFrame) -> Figure:
    """Return bars of the importance of each feature, one panel per method; panels have scales of their own."""
    figure, panels = plt.subplots(1, len(frame.columns), figsize=(11, 7), sharey=True, layout="constrained")
    units = ("mean weight", "mean |change of the logit|", "rise of the loss, in nats")
    for panel, method, unit in zip(panels, frame.columns, units, strict=True):
        panel.barh(frame.index, frame[method], color="#31688e")
        panel.set(title=method, xlabel=unit)
        panel.margins(y=0.01)
        panel.axvline(0, color="black", linewidth=0.5)
    panels[0].set(ylabel="feature")
    panels[0].invert_yaxis()
    return figure


def agreement(frame: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Return the rank correlations of the methods, and of each method with itself for another model."""
    table = frame.corr("spearman")
    table["same method, other seed"] = frame.corrwith(other.loc[frame.index], method="spearman")
    return table


def main() -> None:
    """Train two models that differ only in their random start, compare the methods and write the pictures."""
    parser = argparse.ArgumentParser(description="Compare attention with what the output of a model depends on.")
    parser.add_argument("--out", type=Path, default=Path("outputs/tabular"))
    parser.add_argument("--epochs", type=int, default=15)
    arguments = parser.parse_args()
    table = load_table()
    model, other = (train(table, arguments.epochs, seed) for seed in (0, 1))
    linear = LogisticRegression().fit(*map(np.asarray, table.train))
    accuracies = (*(accuracy(one, *table.test) for one in (model, other)), linear.score(*map(np.asarray, table.test)))
    print("accuracy: {:.3f}; of another seed {:.3f}; of logistic regression {:.3f}\n".format(*accuracies))
    run = open_attention(mean_attention(model, table.test[0]), table.names, arguments.out)
    run.heatmap(layer=1, head=0, title="layer 1, head 0: mean over test rows").savefig(arguments.out / "heatmap.png")
    frame = importance(model, table)
    frame.to_csv(arguments.out / "importance.csv")
    draw_importance(frame).savefig(arguments.out / "importance.png")
    print(frame.head(8).round(3).to_string())
    print("\nrank correlation:")
    print(agreement(frame, importance(other, table)).round(2).to_string())
    print(f"\nWrote {arguments.out}")


if __name__ == "__main__":
    main()
