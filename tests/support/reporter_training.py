"""A program that trains with a callback and one reporter, and prints what the reporter has stored, as JSON.

    python reporter_training.py REPORTER FOLDER PACKAGES

It is one of its own, because reporters start threads and processes and change settings for good.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import wandb_file

TAG = "attention/decoder/layer-01/sink"
STEPS, EVERY = 6, 3


def train(reporter: str, folder: Path) -> Any:
    """Train by the Trainer of Transformers, and return it."""
    from small_training import trainer

    from attncli.integrations import AttentionCallback

    made = trainer(folder, steps=STEPS, report_to=reporter)
    callback = AttentionCallback("The cat sat on the mat because it was warm.", EVERY, metrics="sink", probe_length=0)
    callback.attach(made)
    made.train()
    return made


def wandb(folder: Path) -> dict[str, Any]:
    os.environ.update(WANDB_MODE="offline", WANDB_DIR=str(folder), WANDB_SILENT="true")
    package = importlib.import_module("wandb")
    train("wandb", folder)
    path = Path(package.run.dir).parent
    package.finish()
    (file,) = path.glob("*.wandb")
    rows: list[dict[str, Any]] = []
    for _ in range(100):  # another process writes the file
        rows = [row for row in wandb_file.history(file) if f"train/{TAG}" in row]
        if rows:
            break
        time.sleep(0.1)
    return {"steps": [row["train/global_step"] for row in rows], "values": [row[f"train/{TAG}"] for row in rows]}


def mlflow(folder: Path) -> dict[str, Any]:
    os.environ.update(MLFLOW_TRACKING_URI=f"file://{folder}/mlruns", MLFLOW_ALLOW_FILE_STORE="true")
    package = importlib.import_module("mlflow")
    train("mlflow", folder)
    run = package.last_active_run()
    history = package.MlflowClient().get_metric_history(run.info.run_id, TAG)
    return {"steps": [metric.step for metric in history], "values": [metric.value for metric in history]}


def trackio(folder: Path) -> dict[str, Any]:
    os.environ.update(TRACKIO_DIR=str(folder / "trackio"))
    train("trackio", folder)
    storage = importlib.import_module("trackio.sqlite_storage").SQLiteStorage
    (name,) = storage.get_runs("huggingface")
    rows = [row for row in storage.get_logs("huggingface", name) if f"train/{TAG}" in row]
    return {"steps": [row["train/global_step"] for row in rows], "values": [row[f"train/{TAG}"] for row in rows]}


def lightning(folder: Path, name: str = "lightning.pytorch") -> dict[str, Any]:
    """Train by Lightning without and with the callback; the weights must be the same."""
    import torch
    from small_training import decoder, rows, weights

    from attncli.integrations import AttentionCallback

    package, callbacks, loggers = (importlib.import_module(f"{name}{part}") for part in ("", ".callbacks", ".loggers"))
    loaded = decoder()

    class Module(package.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.model, self.tokenizer = decoder().model, loaded.tokenizer

        def training_step(self, batch: Any, _: int) -> Any:
            return self.model(**batch).loss

        def validation_step(self, batch: Any, _: int) -> None:
            self.log("loss", self.model(**batch).loss)

        def configure_optimizers(self) -> Any:
            return torch.optim.AdamW(self.parameters(), 1e-4)

    def fit(callback: Any, part: str) -> list[torch.Tensor]:
        package.seed_everything(0)
        many, few = rows(16), rows(4)
        data: Any = torch.utils.data.DataLoader(many, 2, shuffle=True)  # type: ignore[arg-type]
        held_out: Any = torch.utils.data.DataLoader(few, 2)  # type: ignore[arg-type]
        more = [] if callback is None else [callbacks.LambdaCallback(on_validation_end=callback.on_validation_end)]
        trainer = package.Trainer(
            max_steps=STEPS,
            val_check_interval=EVERY,
            accelerator="cpu",
            default_root_dir=folder / part,
            logger=[loggers.CSVLogger(folder / part), loggers.TensorBoardLogger(folder / part)],
            callbacks=more,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
        )
        module = Module().train()
        trainer.fit(module, data, held_out)
        return weights(module.model)

    before = fit(None, "plain")
    callback = AttentionCallback("The cat sat on the mat because it was warm.", metrics="sink", probe_length=0)
    after = fit(callback, "watched")
    pandas = importlib.import_module("pandas")
    table = pandas.read_csv(next((folder / "watched").rglob("metrics.csv"))).dropna(subset=[TAG])
    same = all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    return {"steps": table["step"].tolist(), "values": table[TAG].tolist(), "same": same}


def pytorch_lightning(folder: Path) -> dict[str, Any]:
    return lightning(folder, "pytorch_lightning")


def main() -> None:
    reporter, folder, packages = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
    sys.path.append(packages)
    warnings.simplefilter("ignore")
    result = {"wandb": wandb, "mlflow": mlflow, "trackio": trackio}.get(reporter)
    result = result or {"lightning": lightning, "pytorch_lightning": pytorch_lightning}[reporter]
    found = result(folder)
    print("\n" + json.dumps(found), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
