"""Loading of a model and its tokenizer by hub id, folder or name of a bundled model."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedConfig, PreTrainedModel
from transformers.utils.peft_utils import find_adapter_config_file

from attncli.errors import ModelError, UsageError, did_you_mean
from attncli.models.load_errors import explain_load_error, first_line, is_remote_code, quiet_transformers
from attncli.models.loaded import Loaded
from attncli.models.wrapped import unwrap
from attncli.vocabulary import DTYPES

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
"""Like `auto`, but with the head that a model needs to write text."""
_WEIGHT_FILES = (
    *("*.safetensors", "*.safetensors.index.json"),
    *("pytorch_model*.bin", "pytorch_model*.index.json", "*.gguf"),
)
_HEAD_PARTS = {"pooler", "classifier", "lm_head", "cls", "qa_outputs", "score", "generator_predictions", "logits"}


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
    """Return the model of a hub id, folder or `demo:NAME`, ready to be captured: eval mode, eager attention.

    An adapter is loaded into the base model that it names.
    Raises `ModelError` (exit code 3) if the model cannot be used and `UsageError` for wrong options.
    """
    path = _locate(name)
    options = {"revision": revision, "trust_remote_code": trust_remote_code}
    with explain_load_error(name, trust_remote_code), quiet_transformers():
        if base := _adapter_base(path, name, revision):
            model, reason = _load_model(_locate(base), base, head, dtype, {**options, "revision": None})
            _load_adapter(model, path, name, revision)
            path = path if (Path(path) / "tokenizer_config.json").is_file() else _locate(base)
        else:
            model, reason = _load_model(path, name, head, dtype, options)
        source = _load_tokenizer(tokenizer or path, name, options)
        target = _load_tokenizer(target_tokenizer, name, options) if target_tokenizer else source
    model.train(False)
    chosen_device = _device(device)
    if chosen_device is not None and getattr(model, "hf_device_map", None) is None:
        model.to(chosen_device)  # type: ignore[arg-type]
    return Loaded(model, source, target, name, revision, reason)


def wrap_model(model: Any, tokenizer: Any = None, name: str | None = None) -> Loaded:
    """Return a model of the user as `Loaded`, without changing it.

    model  a Transformers model, or an object that `unwrap` knows, such as a compiled model or a pipeline
    Raise UsageError if there is no such model in it, or if its weights are not loaded.
    """
    inner, tokenizer = unwrap(model, tokenizer)
    label = name or str(getattr(inner.config, "name_or_path", "") or type(inner).__name__)
    loaded = Loaded(inner, tokenizer, tokenizer, label)
    if loaded.device.type == "meta":
        raise UsageError(f"{type(inner).__name__} has no weights (device meta): load them before the capture")
    return loaded


def _locate(name: str) -> str:
    """Return the folder or hub id of a model name; raise ModelError if a folder is missing or incomplete."""
    if not name.strip():
        raise UsageError("the model's name is empty; give a folder, a hub id or demo:encoder")
    if name.startswith("demo:"):
        if name not in DEMOS:
            raise ModelError(f"unknown demo model '{name}': {did_you_mean(name, DEMOS)}")
        return str(DEMO / name.removeprefix("demo:"))
    folder = Path(name).expanduser()
    if folder.is_dir():
        has_config = (folder / "config.json").is_file()
        if not has_config and not (folder / "adapter_config.json").is_file():
            raise ModelError(f"model folder '{folder}' has no config.json; give the folder that save_pretrained wrote")
        if has_config and not any(any(folder.glob(pattern)) for pattern in _WEIGHT_FILES):
            raise ModelError(f"model folder '{folder}' has no weights; expected model.safetensors next to config.json")
        return str(folder)
    if folder.is_file() or name.startswith(("/", "./", "../", "~")) or name.count("/") > 1:
        what = "a file" if folder.is_file() else "nothing"
        raise ModelError(f"model '{name}': expected a folder with config.json, found {what}; give a folder or a hub id")
    return name


def _adapter_base(path: str, name: str, revision: str | None) -> str | None:
    """Return the base model that an adapter (LoRA and others, as PEFT saves them) names; None without an adapter.

    Raises `ModelError` if PEFT is not installed or the adapter names no base model.
    """
    if (Path(path) / "config.json").is_file() or find_adapter_config_file(path, revision=revision) is None:
        return None
    try:
        from peft import PeftConfig
    except ImportError as error:
        raise ModelError(f"model '{name}' is an adapter: pip install \"attncli[adapters]\" to load it") from error
    base: str | None = PeftConfig.from_pretrained(path, revision=revision).base_model_name_or_path
    if not base:
        raise ModelError(f"adapter '{name}' names no base model: write base_model_name_or_path to adapter_config.json")
    return base


def _load_adapter(model: PreTrainedModel, path: str, name: str, revision: str | None) -> None:
    """Load an adapter into its base model; raise ModelError if it belongs to another model."""
    report: Any = model.load_adapter(path, adapter_kwargs={"revision": revision})
    keys = sorted([*report.missing_keys, *report.unexpected_keys, *(key for key, *_ in report.mismatched_keys)])
    if keys:
        raise ModelError(
            f"adapter '{name}' does not fit {type(model).__name__}: {len(keys)} weights differ, the first is {keys[0]}"
        )


def _load_model(path: str, name: str, head: str, dtype: str, options: dict[str, Any]) -> tuple[PreTrainedModel, str]:
    """Return the model, loaded by the first class that finds all its weights, and why an earlier class was not used.

    Raises ModelError if no class finds all weights.
    """
    config = AutoConfig.from_pretrained(path, **options)
    if dtype not in DTYPES:
        raise UsageError(f"unknown --dtype '{dtype}': {did_you_mean(dtype, DTYPES)}")
    model_options = {
        **options,
        "dtype": dtype if dtype == "auto" else getattr(torch, dtype),
        "attn_implementation": "eager",
        "output_loading_info": True,
        "ignore_mismatched_sizes": True,  # so that _missing_weights can name them
    }
    unfit, problem = [], ""
    for auto in _auto_classes(config, head):
        if problem and auto.__name__ in HEADS.values():
            break
        try:
            model, loading_info = auto.from_pretrained(path, **model_options)
        except ValueError as error:
            if "Unrecognized configuration class" not in str(error):
                raise
            unfit.append(auto.__name__)
            continue
        missing = _missing_weights(model, loading_info)
        if not missing:
            return model, problem
        problem = problem or f"as {type(model).__name__} {missing}"
    problem = problem or f"{config.model_type} loads through none of {', '.join(dict.fromkeys(unfit))}"
    raise ModelError(f"model '{name}': {problem}; choose another --head or checkpoint")


def _auto_classes(config: PreTrainedConfig, head: str) -> Iterator[Any]:
    """Return the classes to try: that of the demanded head; or the base model, then the class of the checkpoint."""
    if head not in ("auto", AUTO_LM):
        if head not in HEADS:
            raise UsageError(f"unknown --head '{head}': {did_you_mean(head, [*HEADS, 'auto'])}")
        yield getattr(transformers, HEADS[head])
        return
    two_stacks = bool(getattr(config, "is_encoder_decoder", False))
    stated = next(iter(getattr(config, "architectures", None) or []), None)
    checkpoint_class = getattr(transformers, stated, None) if stated else None
    if checkpoint_class is not None:
        # a masked model is left out: it would load as a decoder and write nonsense
        if head == AUTO_LM and checkpoint_class in _mapped_classes(transformers.AutoModelForCausalLM, config):
            yield checkpoint_class
        # without a target text the decoder writes one, which only the full model can do; and some base models read no
        # ids, but the output of another module (Perceiver, SpeechT5)
        base = _mapped_classes(AutoModel, config)[:1]
        if two_stacks or not any("input_ids" in inspect.signature(cls.forward).parameters for cls in base):
            yield checkpoint_class
    yield AutoModel
    if checkpoint_class is not None:
        yield checkpoint_class
    yield from (getattr(transformers, auto) for auto in HEADS.values())


def _mapped_classes(auto: Any, config: PreTrainedConfig) -> tuple[Any, ...]:
    try:
        classes = auto._model_mapping[type(config)]
    except (KeyError, ValueError):
        return ()
    return classes if isinstance(classes, tuple) else (classes,)


def _missing_weights(model: PreTrainedModel, loading_info: dict[str, Any]) -> str:
    """Return which weights the checkpoint lacks for this class, heads excepted; "" if none.

    Weights that are missing would stay random, and so would the attention.
    """
    missing = [key for key in loading_info["missing_keys"] if not _HEAD_PARTS.intersection(key.split("."))]
    prefix = model.base_model_prefix
    if prefix and hasattr(model, prefix):
        missing = [key for key in missing if key.startswith(prefix + ".")]
    if missing:
        count = f"all {len(missing)}" if len(missing) == len(model.state_dict()) else len(missing)
        return f"the checkpoint lacks {count} of its weights, the first is {sorted(missing)[0]}"
    wrong = sorted(loading_info.get("mismatched_keys") or [])
    return f"{len(wrong)} weights have another shape than config.json says: {wrong[0][0]}" if wrong else ""


def _load_tokenizer(path: str, name: str, options: dict[str, Any]) -> Any:
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, **options)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        if is_remote_code(error):
            raise
        problem = f"model '{name}' has no usable tokenizer ({first_line(error)})"
        raise ModelError(f"{problem}; name one with --tokenizer") from error
    # some tokenizers load without vocabulary files, and then know no word
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens) and tokenizer.vocab_size < 256:
        raise ModelError(f"model '{name}' has no tokenizer files; name a tokenizer with --tokenizer")
    return tokenizer


def _device(name: str) -> torch.device | None:
    """Return the device of this name; `auto` is a GPU if there is one, else None."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return next((torch.device(kind) for kind in available if available[kind]), None)
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"unknown --device '{name}': expected auto, cpu, cuda, cuda:N or mps") from error
    if device.type == "cuda" and not available["cuda"]:
        raise UsageError(f"--device {name}: this torch finds no CUDA device; use --device cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"--device {name}: there are only {torch.cuda.device_count()} CUDA devices")
    if device.type == "mps" and not available["mps"]:
        raise UsageError("--device mps: this torch finds no Apple GPU; use --device cpu")
    return device
