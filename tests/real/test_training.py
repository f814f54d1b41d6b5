"""The callback with the real packages of build/training, in a longer training, and TensorBoard itself in a browser."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from playwright.sync_api import sync_playwright
from reporter_training import EVERY, STEPS
from small_training import random_states, trainer, weights
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from attncli.integrations import AttentionCallback

pytestmark = [pytest.mark.real, pytest.mark.filterwarnings("ignore")]

ROOT = Path(__file__).parents[2]
PACKAGES = ROOT / "build" / "training"
TEXTS = ["The cat sat on the mat because it was warm.", "A dog ran home to eat its dinner."]


@pytest.mark.parametrize("reporter", ["wandb", "mlflow", "trackio", "lightning", "pytorch_lightning"])
def test_reporters_store_the_numbers_of_each_step(reporter: str, tmp_path: Path) -> None:
    if not PACKAGES.exists():
        pytest.fail(f"{PACKAGES} does not exist: `make test-real` makes it")
    program = ROOT / "tests" / "support" / "reporter_training.py"
    paths = os.pathsep.join(map(str, (ROOT, program.parent)))
    done = subprocess.run(
        [sys.executable, str(program), reporter, str(tmp_path), str(PACKAGES)],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    begins = EVERY if "lightning" in reporter else 0
    assert found["steps"] == list(range(begins, STEPS + 1, EVERY))
    assert found.get("same", True)
    folders = {path.parent for path in tmp_path.rglob("*tfevents*") if path.parent.name == "attention"}
    events = EventAccumulator(str(folders.pop()))
    events.Reload()
    points = events.Scalars("attention/decoder/layer-01/sink")
    assert [point.step for point in points] == found["steps"]
    np.testing.assert_allclose([point.value for point in points], found["values"], rtol=1e-6)
    assert not folders


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training of 100 steps, whose end was the same without a callback."""
    ends = []
    folder = tmp_path_factory.mktemp("training")
    for name, callbacks in (("plain", []), ("watched", [AttentionCallback(TEXTS, "eval", heads="1.3,2.0")])):
        made = trainer(folder / name, callbacks, steps=100, eval_strategy="steps", eval_steps=10, logging_steps=10)
        made.train()
        losses = [entry["loss"] for entry in made.state.log_history if "loss" in entry]
        ends.append((weights(made.model), losses, random_states()))  # type: ignore[arg-type]
    (before, after) = ends
    assert all(torch.equal(one, other) for one, other in zip(before[0], after[0], strict=True))
    assert before[1:] == after[1:]
    assert len(before[1]) == 10
    return folder / "watched" / "runs"


def test_a_hundred_steps_have_a_point_for_each_evaluation(runs: Path) -> None:
    (folder,) = runs.glob("*/attention")
    events = EventAccumulator(str(folder), {"images": 0})
    events.Reload()
    tags = events.Tags()
    assert "attention/decoder/layer-02/rigidity" in tags["scalars"]
    for tag in tags["scalars"]:
        assert [point.step for point in events.Scalars(tag)] == list(range(10, 101, 10)), tag
    for head in ("1.3", "2.0"):
        assert len(events.Images(f"attention/decoder/head-{head}/map")) == 10


@pytest.fixture(scope="module")
def board(runs: Path) -> Iterator[str]:
    """The address of TensorBoard on the folder of the training."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(runs), "--host", "127.0.0.1", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            address = next(
                found[0]
                for line in process.stdout
                if "TensorBoard" in line and (found := re.search(r"http://\S+", line))
            )
            yield address
        finally:
            process.terminate()


def test_tensorboard_shows_charts_maps_and_classes(board: str, tmp_path: Path) -> None:
    names = ("chromium", "chromium-browser", "google-chrome")
    program = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1500, "height": 1000})
        page.set_default_timeout(120_000)
        page.goto(f"{board}?tagFilter=induction_max|head-1.3%2Fmap#timeseries")
        page.get_by_text("attention/decoder/induction_max", exact=True).wait_for()
        page.get_by_text("attention/decoder/head-1.3/map", exact=True).wait_for()
        page.wait_for_function("[...document.images].some(image => image.naturalWidth > 300)")
        time.sleep(2)  # charts are drawn a little later
        page.screenshot(path=tmp_path / "timeseries.png")
        page.goto(f"{board}#text")
        page.reload()
        page.get_by_text("diagonal").first.wait_for()
        page.screenshot(path=tmp_path / "text.png")
        browser.close()
