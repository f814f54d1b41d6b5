"""A callback measures attention in a training, which it leaves as it is and never stops."""

from __future__ import annotations

import logging
import random
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import peft
import pytest
import torch
from small_training import decoder, random_states, trainer, weights
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from transformers import MambaConfig, MambaForCausalLM, Trainer, TrainerCallback

import attncli
from attncli import OutputError, UsageError
from attncli.integrations import AttentionCallback
from attncli.integrations.callback import is_first_process
from attncli.integrations.observer import unchanged_states
from attncli.models import Loaded

TEXTS = ["The cat sat on the mat because it was warm.", "A dog ran home."]
EVERY = 3


class Recorder(TrainerCallback):
    """What a reporter of a Trainer gets, and the mode of the model."""

    def __init__(self) -> None:
        self.logs: list[dict[str, Any]] = []
        self.modes: set[bool] = set()

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
        self.logs.append({**logs, "step": state.global_step})

    def on_step_end(self, args: Any, state: Any, control: Any, model: Any = None, **kwargs: Any) -> None:
        self.modes.add(model.training)

    @property
    def losses(self) -> list[float]:
        return [logs["loss"] for logs in self.logs if "loss" in logs]

    @property
    def attention(self) -> list[dict[str, Any]]:
        return [logs for logs in self.logs if any(name.startswith("attention/") for name in logs)]


class Trained:
    """A finished training."""

    def __init__(self, folder: Path, callback: AttentionCallback | None, attach: bool = False, **options: Any) -> None:
        self.recorder, self.folder = Recorder(), folder
        self.trainer: Trainer = trainer(folder, [self.recorder, *([callback] if callback else [])], **options)
        if attach and callback:
            callback.attach(self.trainer)
        self.trainer.train()
        self.states = random_states()

    def events(self) -> EventAccumulator:
        (folder,) = self.folder.glob("runs/*/attention")
        events = EventAccumulator(str(folder), {"images": 0, "histograms": 0, "tensors": 0})
        events.Reload()
        return events


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    return Trained(tmp_path_factory.mktemp("plain"), None)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    callback = AttentionCallback(TEXTS, EVERY, heads="1.3", metrics=["sink", "entropy"])
    return Trained(tmp_path_factory.mktemp("watched"), callback, attach=True)


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return decoder()


def test_a_training_has_the_same_weights_losses_and_random_numbers(plain: Trained, watched: Trained) -> None:
    pairs = zip(weights(plain.trainer.model), weights(watched.trainer.model), strict=True)  # type: ignore[arg-type]
    assert all(torch.equal(before, after) for before, after in pairs)
    assert watched.recorder.losses == plain.recorder.losses
    assert len(plain.recorder.losses) == 3  # the Trainer logs where the callback does too
    assert watched.states == plain.states
    assert watched.recorder.modes == {True}


def test_tensorboard_gets_each_step_once(watched: Trained) -> None:
    events = watched.events()
    tags = events.Tags()
    assert [point.step for point in events.Scalars("attention/decoder/layer-01/sink")] == [0, 3, 6]
    assert {"attention/decoder/head-1.3/induction", "attention/decoder/induction_max"} <= {*tags["scalars"]}
    assert "attention/decoder/layer-02/cosine" in tags["scalars"]
    assert {"attention/decoder/sink", "attention/decoder/induction"} <= {*tags["histograms"]}
    assert [picture.step for picture in events.Images("attention/decoder/head-1.3/map")] == [0, 3, 6]
    counts = [events.Scalars(tag)[0].value for tag in tags["scalars"] if tag.startswith("attention/decoder/classes/")]
    assert 0 < sum(counts) <= 24
    table = events.Tensors("attention/decoder/classes")[0].tensor_proto.string_val[0].decode()
    assert table.splitlines()[0].startswith("| layer | head 0 | head 1 |")


def test_the_numbers_are_those_of_the_model_at_that_step(watched: Trained, plain: Trained) -> None:
    model = attncli.load(watched.trainer.model, tokenizer=watched.trainer.processing_class)
    table = model.run(TEXTS, metrics=["sink"], keep_maps=False).stats().to_frame()
    events = watched.events()
    for layer in range(3):
        heads = table[table["layer"] == layer]["sink"]
        point = events.Scalars(f"attention/decoder/layer-{layer:02d}/sink")[-1]
        assert point.step == 6
        np.testing.assert_allclose(point.value, heads.mean(), rtol=1e-5)
    sink = table[(table["layer"] == 1) & (table["head"] == 3)]["sink"].item()
    np.testing.assert_allclose(events.Scalars("attention/decoder/head-1.3/sink")[-1].value, sink, rtol=1e-5)


def test_other_reporters_get_the_same_numbers_and_nothing_is_printed(
    watched: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    events = watched.events()
    reported = watched.recorder.attention
    assert [logs["step"] for logs in reported] == [0, 3, 6]
    for tag in ("attention/decoder/layer-00/sink", "attention/decoder/classes/diagonal"):
        points = [point.value for point in events.Scalars(tag)]
        np.testing.assert_allclose([logs[tag] for logs in reported], points, rtol=1e-6)
    assert all(np.isfinite(value) for logs in reported for value in logs.values())
    callback = AttentionCallback(TEXTS, every=1, pictures=False)
    Trained(tmp_path, callback, attach=True, steps=1, logging_steps=1)
    printed = capsys.readouterr().out
    assert "'loss'" in printed
    assert "attention" not in printed


def test_without_a_trainer_only_tensorboard_gets_numbers_and_a_note_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    callback = AttentionCallback(TEXTS[0], "eval", metrics="sink", probe_length=0)
    trained = Trained(tmp_path, callback, steps=2, eval_strategy="steps", eval_steps=1)
    assert trained.recorder.attention == []
    assert [point.step for point in trained.events().Scalars("attention/decoder/layer-00/sink")] == [1, 2]
    trained.trainer.args.report_to, trained.trainer.args.eval_strategy = ["wandb", "tensorboard"], "no"  # type: ignore[assignment]
    caplog.clear()
    handler = trained.trainer.callback_handler
    handler.on_train_begin(trained.trainer.args, trained.trainer.state, trained.trainer.control)
    notes = [record.getMessage() for record in caplog.records if record.name == "attncli"]
    assert "callback.attach(trainer) also gives it to wandb" in notes[1]
    assert "the Trainer never evaluates, so nothing is measured: give every=N" in notes[0]


def test_an_error_becomes_one_warning_and_the_training_ends(
    plain: Trained, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trained = Trained(tmp_path, AttentionCallback(TEXTS, every=1, heads="9.0"))
    notes = [record for record in caplog.records if record.name == "attncli"]
    assert [(note.levelno, note.getMessage()) for note in notes] == [
        (
            logging.WARNING,
            "AttentionCallback: attention is no longer measured: layer 9 does not exist: decoder has layers 0-2",
        )
    ]
    assert trained.trainer.state.global_step == 6
    pairs = zip(weights(plain.trainer.model), weights(trained.trainer.model), strict=True)  # type: ignore[arg-type]
    assert all(torch.equal(before, after) for before, after in pairs)


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "texts": ({"texts": []}, "there is no text to read"),
    "an empty text": ({"texts": ["a", " "]}, "text is empty"),
    "no steps": ({"every": 0}, 'expected every as "eval" or a number of steps from 1 up, got 0'),
    "a name": ({"every": "epoch"}, "every 'epoch'"),
    "a metric": ({"metrics": "entrpy"}, "did you mean 'entropy'"),
    "a position": ({"metrics": "sink_position"}, "is a position, of which there is no mean"),
    "heads": ({"heads": "first"}, "expected heads like 3.1"),
    "a probe": ({"probe_length": 1}, "expected probe_length from 2 tokens up"),
    "an argument": ({"layers": 3}, "unexpected keyword argument 'layers'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_arguments_raise_at_once(name: str) -> None:
    arguments, message = WRONG[name]
    with pytest.raises(UsageError, match=message):
        AttentionCallback(**{"texts": TEXTS, **arguments})


def test_a_folder_that_cannot_be_written_raises_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="expected a folder for logdir"):
        AttentionCallback(TEXTS, logdir=tmp_path / "file")


def note_of(model: Any, tokenizer: Any, caplog: pytest.LogCaptureFixture, **options: Any) -> str:
    """Return the warning of a callback that measures twice in a loop."""
    caplog.clear()
    callback = AttentionCallback(TEXTS, probe_length=0, **options)
    for step in (1, 2):
        assert callback.log(model, step, tokenizer=tokenizer) is None
    (note,) = [record.getMessage() for record in caplog.records if record.name == "attncli"]
    return note.removeprefix("AttentionCallback: attention is no longer measured: ")


def test_models_that_cannot_be_measured_give_one_warning(
    loaded: Loaded, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    model, tokenizer = loaded.model, loaded.tokenizer
    mamba = MambaForCausalLM(MambaConfig(vocab_size=1024, hidden_size=8, state_size=2, num_hidden_layers=1))
    assert "no softmax attention" in note_of(mamba, tokenizer, caplog)
    assert "needs the tokenizer" in note_of(model, None, caplog)
    assert note_of("a name", tokenizer, caplog) == "expected a Transformers model, got str"
    spoiled = decoder().model
    with torch.no_grad():
        spoiled.get_input_embeddings().weight.fill_(float("nan"))
    assert "its weights are not finite" in note_of(spoiled, tokenizer, caplog)
    logdir = tmp_path / "logs"
    callback = AttentionCallback(TEXTS, probe_length=0, logdir=logdir)
    logdir.write_text("a file by now")
    caplog.clear()
    assert callback.log(model, 0, tokenizer=tokenizer) is None
    assert "cannot write" in caplog.text


def test_weights_that_become_undefined_in_some_layers_are_noted(caplog: pytest.LogCaptureFixture) -> None:
    loaded, callback = decoder(), AttentionCallback(TEXTS[0], metrics="sink", probe_length=0)
    before = callback.log(loaded.model, 0, tokenizer=loaded.tokenizer)
    assert caplog.text == ""
    with torch.no_grad():
        loaded.model.model.layers[2].self_attn.q_proj.weight.fill_(float("nan"))
    after = callback.log(loaded.model, 1, tokenizer=loaded.tokenizer)
    assert before is not None
    assert after is not None
    assert (len(before.heads["head"]), len(after.heads["head"])) == (24, 16)
    assert "model.layers.2.self_attn is left out: its weights are not finite" in caplog.text


def test_weights_that_are_spread_over_processes_are_refused(loaded: Loaded, caplog: pytest.LogCaptureFixture) -> None:
    class FSDPModule(nn.Module):
        pass

    for sharded in (FSDPModule(), nn.Linear(2, 2)):
        if isinstance(sharded, nn.Linear):
            sharded.weight.ds_id = 0  # type: ignore[assignment]
        note = note_of(nn.Sequential(sharded), loaded.tokenizer, caplog)
        assert "spread over processes" in note


def test_a_loop_of_your_own(loaded: Loaded, tmp_path: Path) -> None:
    model = decoder().model.train()
    model.model.layers[0].eval()
    model(input_ids=torch.arange(5)[None], labels=torch.arange(5)[None]).loss.backward()
    gradients = [parameter.grad for parameter in model.parameters()]
    copies = [gradient.clone() for gradient in gradients if gradient is not None]
    modes = [module.training for module in model.modules()]
    keys = [sorted(vars(module)) for module in model.modules()]
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    states, before = random_states(), weights(model)
    callback = AttentionCallback(TEXTS[0], every=2, heads="2.7", tokenizer=loaded.tokenizer, logdir=tmp_path)
    with torch.inference_mode():
        snapshots = [callback.log(model, step) for step in (1, 2, 2, 4)]
    assert [snapshot and snapshot.step for snapshot in snapshots] == [None, 2, None, 4]
    assert random_states() == states
    assert [module.training for module in model.modules()] == modes
    assert [sorted(vars(module)) for module in model.modules()] == keys
    assert [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()] == hooks
    assert all(parameter.grad is gradient for parameter, gradient in zip(model.parameters(), gradients, strict=True))
    kept = [gradient for gradient in gradients if gradient is not None]
    assert all(torch.equal(gradient, copied) for gradient, copied in zip(kept, copies, strict=True))
    assert all(torch.equal(now, then) for now, then in zip(model.parameters(), before, strict=True))
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert len([tag for tag in events.Tags()["images"] if tag.startswith("attention/decoder/head-2.")]) == 1


def test_random_numbers_that_a_measurement_draws_change_nothing_outside() -> None:
    model, states = nn.Linear(1, 1), random_states()
    with unchanged_states(model):
        drawn = random.random(), np.random.rand(), torch.rand(1).item()
        assert not torch.is_grad_enabled()
    assert random_states() == states
    assert drawn == (random.random(), np.random.rand(), torch.rand(1).item())


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # PEFT reads it
def test_wrapped_models_are_measured_like_the_model_inside(loaded: Loaded) -> None:
    model = decoder().model
    expected = _sinks(model, loaded)
    assert np.isfinite(expected).all()
    wrapped = [nn.DataParallel(model), torch.compile(model, backend="eager")]
    wrapped.append(peft.get_peft_model(decoder().model, peft.LoraConfig(target_modules=["q_proj"])))  # type: ignore[arg-type]
    for one in wrapped:
        np.testing.assert_allclose(_sinks(one, loaded), expected, atol=1e-6)


def _sinks(model: Any, loaded: Loaded) -> Any:
    snapshot = AttentionCallback(TEXTS[0], metrics="sink", probe_length=0).log(model, 0, tokenizer=loaded.tokenizer)
    assert snapshot is not None
    return snapshot.heads["sink"]


def test_only_the_first_process_measures(
    plain: Trained, loaded: Loaded, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    callback = AttentionCallback(TEXTS, every=1, logdir=tmp_path / "logs")
    of_trainer = plain.trainer
    state = SimpleNamespace(is_world_process_zero=False, global_step=1)
    given = {"model": loaded.model, "processing_class": loaded.tokenizer}
    callback.on_train_begin(of_trainer.args, state, of_trainer.control, **given)  # type: ignore[arg-type]
    callback.on_step_end(of_trainer.args, state, of_trainer.control, **given)  # type: ignore[arg-type]
    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 1)
    assert callback.log(loaded.model, 1, tokenizer=loaded.tokenizer) is None
    with monkeypatch.context() as without_distributed:
        without_distributed.setattr(torch.distributed, "is_available", lambda: False)
        without_distributed.delattr(torch.distributed, "is_initialized")
        assert is_first_process()
    other = SimpleNamespace(is_global_zero=False, global_step=1)
    callback.on_validation_end(other, loaded.model)
    assert not (tmp_path / "logs").exists()


class Logger:
    def __init__(self) -> None:
        self.logged: list[tuple[int, dict[str, float]]] = []

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.logged.append((step, metrics))


class TensorBoardLogger(Logger):
    """Like the class of Lightning."""


def test_lightning_gives_numbers_to_all_its_loggers_but_tensorboard(loaded: Loaded, tmp_path: Path) -> None:
    class Module(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.tokenizer = loaded.model, loaded.tokenizer

    loggers = [Logger(), TensorBoardLogger()]
    of_lightning = SimpleNamespace(
        sanity_checking=True, is_global_zero=True, global_step=7, loggers=loggers, log_dir=str(tmp_path)
    )
    callback = AttentionCallback(TEXTS[0], metrics="sink", probe_length=0)
    callback.on_validation_end(of_lightning, Module())
    assert loggers[0].logged == []  # the check before the training
    of_lightning.sanity_checking = False
    callback.on_validation_end(of_lightning, Module())
    ((step, numbers),) = loggers[0].logged
    assert step == 7
    assert "attention/decoder/layer-00/sink" in numbers
    assert loggers[1].logged == []
    assert list((tmp_path / "attention").iterdir())


def test_a_module_without_one_model_is_named(loaded: Loaded, caplog: pytest.LogCaptureFixture) -> None:
    of_lightning = SimpleNamespace(global_step=1, loggers=())
    for module, expected in (
        (nn.Linear(2, 2), "Linear holds no Transformers model"),
        (nn.ModuleDict({"a": loaded.model, "b": decoder().model}), "measure one by callback.log(module.a, step)"),
    ):
        caplog.clear()
        AttentionCallback(TEXTS).on_validation_end(of_lightning, module)
        assert expected in caplog.text


def test_without_tensorboard_other_reporters_get_numbers(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard.summary.writer.record_writer", None)
    with pytest.raises(UsageError, match=r'pip install "attncli\[tensorboard\]"'):
        AttentionCallback(TEXTS, logdir=tmp_path)
    logger = Logger()
    of_lightning = SimpleNamespace(global_step=1, loggers=[logger], log_dir=str(tmp_path))
    module = nn.ModuleDict({"inner": loaded.model})
    AttentionCallback(TEXTS, tokenizer=loaded.tokenizer, probe_length=0).on_validation_end(of_lightning, module)
    assert [step for step, _ in logger.logged] == [1]
    assert 'pip install "attncli[tensorboard]"' in caplog.text


def test_attach_takes_a_trainer_and_adds_the_callback_once(plain: Trained) -> None:
    with pytest.raises(UsageError, match="expected a Trainer of Transformers to attach to, got int"):
        AttentionCallback(TEXTS).attach(3)  # type: ignore[arg-type]
    callback = AttentionCallback(TEXTS)
    for _ in range(2):
        assert callback.attach(plain.trainer) is callback
    assert plain.trainer.callback_handler.callbacks.count(callback) == 1
    plain.trainer.remove_callback(callback)
