"""A capture disturbs nobody: other threads, models, tasks and processes compute exactly what they do alone."""

from __future__ import annotations

import asyncio
import faulthandler
import functools
import os
import re
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import families
import numpy as np
import pytest
import torch
from families import FAMILIES
from transformers import PreTrainedModel
from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

import attncli
from attncli import capturing
from attncli.capturing.intercept import intercepted
from attncli.capturing.shadow import Shadow
from attncli.data.cached import cached_property
from attncli.inputs.batches import batch_from_tensors
from attncli.models import wrap_model
from attncli.stream import KeepMaps

Tensors = dict[str, torch.Tensor]
Job = Callable[[], None]
CAPTURED = ("bert", "llama", "bloom", "t5")
ROUNDS = 3


def forward(model: PreTrainedModel, tensors: Tensors) -> torch.Tensor:
    with torch.no_grad():
        result: torch.Tensor = model(**tensors)[0]
    return result


def maps(run: attncli.Run) -> list[np.ndarray[Any, Any]]:
    return [layer.weights for attention in run.maps for layer in attention.layers]


def forward_job(name: str, implementation: str, model: PreTrainedModel | None = None) -> Job:
    """A job that fails unless a plain forward pass gives exactly its own output, and keeps mode and implementation."""
    model = model or families.build(FAMILIES[name], implementation)
    tensors = families.inputs(FAMILIES[name])
    expected, training = forward(model, tensors), model.training

    def run() -> None:
        assert torch.equal(forward(model, tensors), expected), name
        assert (model.training, model.config._attn_implementation) == (training, implementation), name

    return run


def capture_job(name: str, model: PreTrainedModel) -> Job:
    """A job that fails unless a capture gives exactly the maps that it gives alone."""
    tensors = families.inputs(FAMILIES[name])
    expected = maps(attncli.capture(model, tensors))

    def run() -> None:
        captured = maps(attncli.capture(model, tensors))
        assert len(captured) == len(expected)
        assert all(map(np.array_equal, captured, expected)), name

    return run


def in_child(job: Callable[[], None]) -> None:
    """Run a job in a forked process; fail unless it ends well within 30 seconds.

    Other threads must not be inside of torch: the locks of its matrix products do not survive a fork.
    """
    if (child := os.fork()) == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        faulthandler.dump_traceback_later(25)  # shows where, if it hangs
        signal.alarm(30)
        torch.set_num_threads(1)  # the threads of OpenMP do not survive a fork
        code = 1
        try:
            job()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_captures_and_forward_passes_in_threads_do_not_disturb_each_other() -> None:
    models = {name: families.build(FAMILIES[name]) for name in CAPTURED}
    captures = [capture_job(name, model) for name, model in models.items()]
    models["llama"].train()  # it has no dropout
    own = [forward_job(name, model.config._attn_implementation, model) for name, model in models.items()]
    others = [forward_job(name, implementation) for name in ("llama", "gpt2") for implementation in ("sdpa", "eager")]
    jobs = [*captures, *captures[:2], *own, *others]
    with ThreadPoolExecutor(len(jobs)) as threads:
        done = [threads.submit(repeat, job) for job in jobs]
    for future in done:
        future.result()


def repeat(job: Job) -> None:
    for _ in range(ROUNDS):
        job()


@contextmanager
def paused_capture(name: str = "bert") -> Iterator[tuple[PreTrainedModel, Tensors]]:
    """A capture in another thread that stands still in the middle of its pass, inside the `with` block."""
    model, tensors = families.build(FAMILIES[name]), families.inputs(FAMILIES[name])
    inside, leave = threading.Event(), threading.Event()

    def stop(*_: object) -> None:
        inside.set()
        assert leave.wait(60)

    capture = threading.Thread(target=attncli.capture, args=(model, tensors))
    hook = model.get_submodule("bert.encoder.layer.1").register_forward_pre_hook(stop)
    capture.start()
    assert inside.wait(60)
    hook.remove()
    try:
        yield model, tensors
    finally:
        leave.set()
        capture.join()


def test_during_a_capture_the_model_is_as_its_owner_left_it() -> None:
    reference = families.build(FAMILIES["bert"])
    with paused_capture() as (model, tensors):
        assert torch.equal(forward(model, tensors), forward(reference, tensors))
        assert model.config._attn_implementation == "sdpa"
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
        model.train()
        assert all(module.training for module in model.modules())
    assert model.training


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_a_child_forked_during_a_capture_captures_and_computes() -> None:
    with paused_capture() as (model, tensors):
        expected = maps(attncli.capture(families.build(FAMILIES["bert"]), tensors))
        plain = forward(families.build(FAMILIES["bert"]), tensors)

        def check() -> None:
            assert torch.equal(forward(model, tensors), plain)
            assert all(map(np.array_equal, maps(attncli.capture(model, tensors)), expected))

        in_child(check)


def test_a_second_capture_of_a_model_waits_and_one_of_another_does_not() -> None:
    with paused_capture() as (model, tensors):
        expected = maps(attncli.capture(families.build(FAMILIES["bert"]), tensors))
        second: list[attncli.Run] = []
        waiting = threading.Thread(target=lambda: second.append(attncli.capture(model, tensors)))
        waiting.start()
        capture_job("llama", families.build(FAMILIES["llama"]))()
        assert not second
    waiting.join()
    assert all(map(np.array_equal, maps(second[0]), expected))


@pytest.mark.parametrize("outer", ["bert", "bloom"])
def test_a_hook_may_run_and_capture_other_models(outer: str) -> None:
    """Nested use: `bert` dispatches its attention, `bloom` calls softmax itself."""
    model, tensors = families.build(FAMILIES[outer]), families.inputs(FAMILIES[outer])
    expected = maps(attncli.capture(model, tensors))
    inner = [
        capture_job("llama", families.build(FAMILIES["llama"])),
        forward_job("bloom", "eager"),
        forward_job("llama", "eager"),
        forward_job("bert", "sdpa"),
    ]
    ran = []

    def hook(*_: object) -> None:
        for job in inner:
            job()
        ran.append(True)

    handle = next(module for name, module in model.named_modules() if name.endswith("1")).register_forward_hook(hook)
    captured = maps(attncli.capture(model, tensors))
    handle.remove()
    assert ran
    assert len(captured) == len(expected)
    assert all(map(np.array_equal, captured, expected))


class Silent:
    """A handler that must not be called."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(name)


def test_a_task_that_runs_while_a_capture_is_open_is_not_captured() -> None:
    """Tasks copy the context of the task that starts them, so a context variable alone would leak."""
    shadow = Shadow(families.build(FAMILIES["bert"]))
    jobs = [forward_job(name, "eager") for name in ("bert", "llama", "bloom")]

    async def run(job: Job) -> None:
        await asyncio.sleep(0)
        job()

    async def main() -> None:
        with intercepted(shadow, Silent(), functions=True):
            await asyncio.gather(*map(run, jobs), *(asyncio.to_thread(job) for job in jobs))
            for job in jobs:
                job()

    before = ALL_MASK_ATTENTION_FUNCTIONS["eager"]
    with ThreadPoolExecutor() as pool:  # the thread of the tests may run the loop of a browser
        pool.submit(asyncio.run, main()).result()
    assert ALL_MASK_ATTENTION_FUNCTIONS["eager"] is before


class Slow:
    """An object with a property that takes as long as a test needs."""

    def __init__(self, wait: Callable[[], object]) -> None:
        self.wait = wait

    @cached_property
    def value(self) -> object:
        """What `wait` returns."""
        return self.wait()


def test_a_cached_property_of_one_object_does_not_block_another() -> None:
    """As the one of functools does in Python 3.11, in threads and, for ever, in forked processes."""
    inside, leave = threading.Event(), threading.Event()
    slow = Slow(lambda: inside.set() or leave.wait(60))
    thread = threading.Thread(target=lambda: slow.value)
    thread.start()
    assert inside.wait(60)
    other = threading.Thread(target=lambda: Slow(lambda: 1).value, daemon=True)
    other.start()
    other.join(20)
    blocked = other.is_alive()
    leave.set()
    thread.join()
    assert not blocked
    assert slow.value is True


def test_no_module_uses_the_cached_property_that_locks(repo: Path) -> None:
    files = [path for path in (repo / "attncli").rglob("*.py") if path.name != "cached.py"]
    assert not [path for path in files if re.search(r"functools.*cached_property", path.read_text(encoding="utf-8"))]


# ------------------------------------------------------------------------------------------- the shadow


def test_the_shadow_shares_parameters_and_nothing_else() -> None:
    model = families.build(FAMILIES["bert"]).train()
    shadow = Shadow(model)
    own, original = dict(shadow.model.named_parameters()), dict(model.named_parameters())
    assert own.keys() == original.keys()
    assert all(own[name] is original[name] for name in own)
    assert not {id(module) for module in shadow.model.modules()} & {id(module) for module in model.modules()}
    assert shadow.model.config is not model.config
    name = "bert.encoder.layer.1"
    assert shadow.of(model.get_submodule(name)) is shadow.model.get_submodule(name)
    assert (shadow.model.training, model.training) == (False, True)


def test_what_a_pass_changes_in_the_shadow_is_restored() -> None:
    shadow = Shadow(families.build(FAMILIES["bert"]))
    model: Any = shadow.model
    layer = model.get_submodule("bert.encoder.layer.1")
    before = {id(module): {**vars(module)} for module in model.modules()}
    names = [name for name, _ in model.named_modules()]
    settings, buffers = {**vars(model.config)}, dict(model.named_buffers())
    with suppress(KeyError), shadow.restored():
        model.set_submodule("bert.encoder.layer.1.attention.self", torch.nn.Linear(2, 2))
        layer.register_buffer("later", torch.zeros(2))
        layer.register_forward_hook(lambda *_: None)
        layer.mode, model.config.hidden_act = "sparse", "relu"
        model.bert.embeddings._buffers["position_ids"] = torch.zeros(1)
        model.bert.encoder.layer._modules.pop("0")
        raise KeyError
    assert [name for name, _ in model.named_modules()] == names
    assert vars(model.config) == settings
    assert not hasattr(layer, "mode")
    assert not layer._forward_hooks
    assert all(buffer is buffers[name] for name, buffer in model.named_buffers())
    for module in model.modules():
        attributes = before[id(module)]
        assert vars(module).keys() == attributes.keys()
        assert all(value is attributes[name] for name, value in vars(module).items())


@pytest.mark.parametrize("name", ["bert", "bloom", "t5", "llama_dynamic", "big_bird"])
def test_passes_that_share_a_shadow_give_what_each_gives_alone(name: str) -> None:
    model, tensors = families.build(FAMILIES[name]), families.inputs(FAMILIES[name], (20,))
    loaded = wrap_model(model)
    shadow = Shadow(model)

    def weights(cut: int, shared: Shadow | None) -> list[np.ndarray[Any, Any]]:
        batch = batch_from_tensors(loaded, {key: tensor[:, : tensor.shape[1] - cut] for key, tensor in tensors.items()})
        keep = KeepMaps()
        capturing.run(loaded, capturing.kept_plan(loaded, "auto", batch), batch, [keep], shadow=shared)
        return [layer.weights for attention in keep.result(batch.inputs) for layer in attention.layers]

    for cut in (0, 14, 0, 8):
        assert all(map(np.array_equal, weights(cut, shadow), weights(cut, None)))


def wrapped_by_closure(model: PreTrainedModel) -> None:
    run = model.forward

    @functools.wraps(run)
    def again(*args: Any, **kwargs: Any) -> Any:
        return run(*args, **kwargs)

    model.forward = again


def wrapped_by_partial(model: PreTrainedModel) -> None:
    run = model.forward
    model.forward = functools.update_wrapper(functools.partial(run), run)


def compiled_forward(model: PreTrainedModel) -> None:
    model.forward = torch.compile(model.forward, backend="eager")


def compiled_module(model: PreTrainedModel) -> None:
    model.compile(backend="eager")


def compiled_layer(model: PreTrainedModel) -> None:
    layer = torch.compile(model.get_submodule("bert.encoder.layer.1"), backend="eager")
    model.set_submodule("bert.encoder.layer.1", layer)


@pytest.mark.parametrize(
    "change", [wrapped_by_closure, wrapped_by_partial, compiled_forward, compiled_module, compiled_layer]
)
def test_a_model_whose_forward_pass_was_replaced_is_captured(change: Callable[[PreTrainedModel], None]) -> None:
    model, tensors = families.build(FAMILIES["bert"]), families.inputs(FAMILIES["bert"])
    expected = maps(attncli.capture(model, tensors))
    change(model)
    captured = maps(attncli.capture(model, tensors))
    assert len(captured) == len(expected) == 2
    assert all(map(np.array_equal, captured, expected))
