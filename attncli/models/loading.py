"""Loading a model and its tokenizer by hub id, folder or name of a bundled model."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedModel

from attncli.errors import ModelError, UsageError, did_you_mean
from attncli.models.adapters import adapter_base, load_adapter
from attncli.models.failing import explain_load_error, first_line, is_remote_code, quiet_transformers
from attncli.models.loaded import Loaded

DEMO = Path(__file__).parent.parent / "demo"
DEMOS = ("demo:encoder", "demo:decoder", "demo:seq2seq")
HEADS = {
    "base": "AutoModel",
    "causal-lm": "AutoModelForCausalLM",
    "masked-lm": "AutoModelForMaskedLM",
    "seq2seq-lm": "AutoModelForSeq2SeqLM",
    "sequence-classification": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "question-answering": "AutoModelForQuestionAnswering",
}
AUTO_LM = "auto-lm"
"""As `auto`, but with the head that a model needs to write text."""
_WEIGHTS = (
    "*.safetensors",
    "*.safetensors.index.json",
    "pytorch_model*.bin",
    "pytorch_model*.index.json",
    "*.gguf",
)
_HEAD_PARTS = (
    "pooler",
    "classifier",
    "lm_head",
    "cls",
    "qa_outputs",
    "score",
    "generator_predictions",
    "logits",
)


def load(
    name: str,
    *,
    revision: str | None = None,
    tokenizer: str | None = None,
    target_tokenizer: str | None = None,
    head: str = "auto",
    device: str = "auto",
    dtype: str = "auto",
    trust_remote_code: bool = False,
) -> Loaded:
    """Load a model by hub id, folder or `demo:NAME`, ready to be captured: eval mode, eager attention.

    An adapter is loaded on top of the model that it names as its base.
    Raises `ModelError` (exit code 3) where the model cannot serve and `UsageError` for wrong options.
    """
    path = _locate(name)
    common = {"revision": revision, "trust_remote_code": trust_remote_code}
    with explain_load_error(name, trust_remote_code), quiet_transformers():
        if base := adapter_base(path, name, revision):
            model = _load_model(_locate(base), base, head, dtype, {**common, "revision": None})
            load_adapter(model, path, name, revision)
            path = path if (Path(path) / "tokenizer_config.json").is_file() else _locate(base)
        else:
            model = _load_model(path, name, head, dtype, common)
        text_tokenizer = _load_tokenizer(tokenizer or path, name, common)
        other = _load_tokenizer(target_tokenizer, name, common) if target_tokenizer else text_tokenizer
    model.train(False)
    place = _device(device)
    if place is not None and getattr(model, "hf_device_map", None) is None:
        model.to(place)  # type: ignore[arg-type]
    return Loaded(model, text_tokenizer, other, name, revision)


def wrap_model(model: PreTrainedModel, tokenizer: Any = None, name: str | None = None) -> Loaded:
    """A model that its user already holds; it is left as found."""
    if not isinstance(model, PreTrainedModel):
        raise UsageError(f"expected a Transformers model (PreTrainedModel), got {type(model).__name__}")
    shown = name or str(getattr(model.config, "name_or_path", "") or type(model).__name__)
    return Loaded(model, tokenizer, tokenizer, shown)


def _locate(name: str) -> str:
    if not name.strip():
        raise UsageError("the model's name is empty; give a folder, a hub id or demo:encoder")
    if name.startswith("demo:"):
        if name not in DEMOS:
            raise ModelError(f"unknown demo model '{name}': {did_you_mean(name, DEMOS)}")
        return str(DEMO / name.removeprefix("demo:"))
    folder = Path(name).expanduser()
    if folder.is_dir():
        _check_folder(folder)
        return str(folder)
    if folder.is_file() or name.startswith(("/", "./", "../", "~")) or name.count("/") > 1:
        what = "a file" if folder.is_file() else "nothing"
        raise ModelError(f"model '{name}': expected a folder with config.json, found {what}; give a folder or a hub id")
    return name


def _check_folder(folder: Path) -> None:
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        return
    if not (folder / "config.json").is_file():
        raise ModelError(f"model folder '{folder}' has no config.json; give the folder that save_pretrained wrote")
    if not any(any(folder.glob(pattern)) for pattern in _WEIGHTS):
        raise ModelError(f"model folder '{folder}' has no weights; expected model.safetensors beside config.json")


def _load_model(path: str, name: str, head: str, dtype: str, common: dict[str, Any]) -> PreTrainedModel:
    config = AutoConfig.from_pretrained(path, **common)
    options = {
        **common,
        "dtype": _dtype(dtype),
        "attn_implementation": "eager",
        "output_loading_info": True,
        "ignore_mismatched_sizes": True,  # only to name them ourselves: _lack refuses them
    }
    unfit, lacking = [], ""
    for auto in _auto_classes(config, head):
        if lacking and auto.__name__ in HEADS.values():
            break
        try:
            model, found = auto.from_pretrained(path, **options)
        except ValueError as error:
            if "Unrecognized configuration class" not in str(error):
                raise
            unfit.append(auto.__name__)
            continue
        lack = _lack(model, found)
        if not lack:
            return model  # type: ignore[no-any-return]
        lacking = lacking or f"as {type(model).__name__} {lack}"
    problem = lacking or f"{config.model_type} loads through none of {', '.join(dict.fromkeys(unfit))}"
    raise ModelError(f"model '{name}': {problem}; choose another --head or checkpoint")


def _auto_classes(config: Any, head: str) -> Iterator[Any]:
    """Auto classes to try: the head asked for; or the base model, then what the checkpoint says that it is."""
    two_stacks = bool(getattr(config, "is_encoder_decoder", False))
    if head not in ("auto", AUTO_LM):
        if head not in HEADS:
            raise UsageError(f"unknown --head '{head}': {did_you_mean(head, [*HEADS, 'auto'])}")
        yield getattr(transformers, HEADS[head])
        return
    stated = next(iter(getattr(config, "architectures", None) or []), None)
    own = getattr(transformers, stated, None) if stated else None
    # not for a masked model: it would load as a decoder and write nonsense
    if head == AUTO_LM and own is not None and own in _mapped(transformers.AutoModelForCausalLM, config):
        yield own
    # without a target the decoder must write one itself, which only the full model can; and some base models read
    # no ids, but what another module made of them (Perceiver, SpeechT5)
    if own is not None and (two_stacks or not _base_reads_ids(config)):
        yield own
    yield AutoModel
    if own is not None:
        yield own
    yield from (getattr(transformers, auto) for auto in HEADS.values())


def _base_reads_ids(config: Any) -> bool:
    return any("input_ids" in inspect.signature(base.forward).parameters for base in _mapped(AutoModel, config)[:1])


def _mapped(auto: Any, config: Any) -> tuple[Any, ...]:
    """The classes that an Auto class has for a configuration."""
    try:
        found = auto._model_mapping[type(config)]
    except (KeyError, ValueError):
        return ()
    return found if isinstance(found, tuple) else (found,)


def _lack(model: PreTrainedModel, found: dict[str, Any]) -> str:
    """What the checkpoint lacks for this class, heads excepted: random weights would give attention of nothing."""
    missing = [key for key in found["missing_keys"] if not any(part in _HEAD_PARTS for part in key.split("."))]
    prefix = model.base_model_prefix
    if prefix and hasattr(model, prefix):
        missing = [key for key in missing if key.startswith(prefix + ".")]
    if missing:
        return f"the checkpoint lacks {len(missing)} of its weights, the first is {sorted(missing)[0]}"
    wrong = sorted(found.get("mismatched_keys") or [])
    return f"{len(wrong)} weights have another shape than config.json says: {wrong[0][0]}" if wrong else ""


def _load_tokenizer(path: str, name: str, common: dict[str, Any]) -> Any:
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, **common)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        if is_remote_code(error):
            raise
        problem = f"model '{name}' has no usable tokenizer ({first_line(error)})"
        raise ModelError(f"{problem}; name one with --tokenizer") from error
    # without vocabulary files some tokenizers load all the same, and know no word
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens) and tokenizer.vocab_size < 256:
        raise ModelError(f"model '{name}' has no tokenizer files; name a tokenizer with --tokenizer")
    return tokenizer


def _dtype(name: str) -> Any:
    if name == "auto":
        return "auto"
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name not in known:
        raise UsageError(f"unknown --dtype '{name}': {did_you_mean(name, [*known, 'auto'])}")
    return known[name]


def _device(name: str) -> torch.device | None:
    """The device asked for; `auto` takes a GPU where there is one."""
    if name == "auto":
        accelerator = torch.cuda.is_available()
        return torch.device("cuda") if accelerator else _mps()
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"unknown --device '{name}': expected auto, cpu, cuda, cuda:N or mps") from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UsageError(f"--device {name}: this torch sees no CUDA device; use --device cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"--device {name}: there are only {torch.cuda.device_count()} CUDA devices")
    if device.type == "mps" and _mps() is None:
        raise UsageError("--device mps: this torch sees no Apple GPU; use --device cpu")
    return device


def _mps() -> torch.device | None:
    return torch.device("mps") if torch.backends.mps.is_available() else None
