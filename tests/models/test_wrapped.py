"""What users hold instead of a plain Transformers model: it is captured like the model inside, or refused by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import families
import numpy as np
import peft
import pytest
import torch
from accelerate import cpu_offload, disk_offload
from families import FAMILIES
from transformers import AutoModel, AutoTokenizer, PreTrainedModel, pipeline

import attncli
from attncli import UsageError

Maps = list[np.ndarray[Any, Any]]
PEFT_OLD_NAME = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
INPUTS = families.inputs(FAMILIES["bert"])


def build() -> PreTrainedModel:
    return families.build(FAMILIES["bert"], "eager")


def own_maps(model: Any) -> Maps:
    """What the model itself returns as its attention."""
    with torch.no_grad():
        return [layer[0].numpy() for layer in model(**INPUTS, output_attentions=True).attentions]


def maps(run: attncli.Run) -> Maps:
    return [layer.weights for layer in run.attention().layers]


def assert_same(captured: Maps, expected: Maps) -> None:
    assert len(captured) == len(expected) == 2
    for weights, own in zip(captured, expected, strict=True):
        np.testing.assert_allclose(weights, own, atol=2e-6)


@pytest.fixture(scope="module")
def expected() -> Maps:
    return own_maps(build())


class SentenceTransformer(torch.nn.Sequential):
    """Like the class of sentence-transformers: the first module holds the model as `auto_model`."""

    def __init__(self, model: PreTrainedModel) -> None:
        first = torch.nn.Module()
        first.auto_model = model
        super().__init__(first, torch.nn.Identity())
        self.tokenizer = None


class SparseEncoder(torch.nn.Sequential):
    """Like the class of sentence-transformers for sparse vectors, and like CrossEncoder since version 6."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__(*SentenceTransformer(model))
        self.tokenizer = None


class CrossEncoder:
    """Like the class of sentence-transformers 2 to 3, which is no module."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.tokenizer = None


@pytest.fixture(scope="module")
def process_group(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A group of one process, as `torchrun --nproc-per-node 1` makes it."""
    file = tmp_path_factory.mktemp("group") / "store"
    torch.distributed.init_process_group("gloo", init_method=f"file://{file}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.usefixtures("process_group")
@pytest.mark.parametrize(
    "wrap",
    [
        lambda model: torch.compile(model, backend="eager"),
        torch.nn.DataParallel,
        torch.nn.parallel.DistributedDataParallel,
        lambda model: torch.compile(torch.nn.parallel.DistributedDataParallel(model), backend="eager"),
        lambda model: torch.nn.DataParallel(torch.compile(model, backend="eager")),
        SentenceTransformer,
        SparseEncoder,
        CrossEncoder,
    ],
    ids=["compiled", "parallel", "distributed", "compiled distributed", "both", "sentence", "sparse", "cross"],
)
def test_a_wrapped_model_is_captured_like_the_model_inside(wrap: Any, expected: Maps) -> None:
    run = attncli.capture(wrap(build()), INPUTS)
    assert run.info.cls == "BertForMaskedLM"
    assert_same(maps(run), expected)


@PEFT_OLD_NAME
def test_an_adapter_takes_part_in_a_capture(expected: Maps) -> None:
    config = peft.LoraConfig(target_modules=["query", "value"], init_lora_weights=False, r=4)
    torch.manual_seed(0)
    model = peft.get_peft_model(build(), config).eval()
    captured = maps(attncli.capture(model, INPUTS))
    assert_same(captured, own_maps(model))
    assert np.abs(captured[0] - expected[0]).max() > 0.001
    with model.disable_adapter():
        assert_same(maps(attncli.capture(model, INPUTS)), expected)


@PEFT_OLD_NAME
def test_an_adapter_that_adds_tokens_is_refused() -> None:
    config = peft.PromptTuningConfig(num_virtual_tokens=3, task_type="CAUSAL_LM")
    model = peft.get_peft_model(families.build(FAMILIES["llama"]), config)
    with pytest.raises(UsageError, match=r"\(PROMPT_TUNING\) puts vectors before the tokens.*get_base_model"):
        attncli.capture(model, families.inputs(FAMILIES["llama"]))


def test_a_pipeline_brings_its_tokenizer(minilm: Path) -> None:
    model, tokenizer = AutoModel.from_pretrained(minilm), AutoTokenizer.from_pretrained(minilm)
    inputs = tokenizer("a cat", return_tensors="pt")
    run = attncli.capture(pipeline("feature-extraction", model=model, tokenizer=tokenizer), inputs)
    assert run.inputs[0].source.pieces == ("[CLS]", "a", "cat", "[SEP]")
    assert np.array_equal(run.attention().stack(), attncli.capture(model, inputs, tokenizer).attention().stack())


@pytest.mark.parametrize("offload", [cpu_offload, disk_offload])
@pytest.mark.parametrize("by", ["weight", "norm"])
def test_an_offloaded_model_is_captured_and_stays_offloaded(offload: Any, by: Any, tmp_path: Path) -> None:
    reference = attncli.capture(build(), INPUTS, by=by)
    model = build()
    folder = {"offload_dir": str(tmp_path)} if offload is disk_offload else {}
    offload(model, execution_device=torch.device("cpu"), **folder)
    assert_same(maps(attncli.capture(model, INPUTS, by=by)), maps(reference))
    assert {parameter.device.type for parameter in model.parameters()} == {"meta"}


class Held:
    """A trainer or another object that is no module."""

    def __init__(self, model: object) -> None:
        self.model = model


class Wrapper(torch.nn.Module):
    """A module of the user around a model."""

    def __init__(self, backbone: torch.nn.Module) -> None:
        super().__init__()
        self.parts = torch.nn.ModuleDict({"backbone": backbone})


@pytest.mark.parametrize(
    ("wrap", "message"),
    [
        (Held, "got Held; pass the model that it holds as model"),
        (Wrapper, "got Wrapper; pass the model that it holds as parts.backbone"),
        (lambda model: Held(torch.nn.DataParallel(model)), "got Held; pass the model that it holds as model"),
        (lambda model: "bert", r"got str: attncli.load\('bert'\).run\(text\)"),
        (lambda model: None, "got NoneType; attncli.capture reads any torch.nn.Module$"),
        (lambda model: model.to("meta"), "BertForMaskedLM has no weights"),
    ],
)
def test_another_object_is_refused_with_the_attribute_to_pass(wrap: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        attncli.capture(wrap(build()), INPUTS)
