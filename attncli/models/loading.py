"""Loading of a model and its tokenizer by hub id, folder or name of a bundled model."""

import inspect
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoModel, AutoTokenizer, GenerationConfig, PreTrainedConfig, PreTrainedModel
from transformers.utils.peft_utils import find_adapter_config_file

from attncli.errors import ModelError, UsageError, did_you_mean
from attncli.models.adapters import load_magnitudes
from attncli.models.checkpoint import problem_with_weights, unused_weights
from attncli.models.folders import SentenceModel, check_files, locate, place_of, read_json, sentence_model
from attncli.models.gguf import NO_MODEL, find_gguf, gguf_options, heeded_progress_bars
from attncli.models.greedy import greedy_settings
from attncli.models.load_errors import explain_load_error, first_line, is_remote_code, quiet_transformers
from attncli.models.loaded import Loaded
from attncli.models.pruned import restore_cuts
from attncli.models.wrapped import check_tokenizer, pooling_of, unwrap
from attncli.vocabulary import DTYPES

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
AUTO_HEAD = "auto-head"
"""Like `auto`, but with the head of the checkpoint, if it has one."""


LoadedWeights = tuple[PreTrainedModel, dict[str, Any]]
"""A model, and which of its weights were found: the loading information of Transformers."""


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
    """Return the model of a hub id, folder, GGUF file or `demo:NAME`, ready to be captured: eval mode, eager attention.

    An adapter is loaded into the base model that it names. Weights of a GGUF file are dequantised.
    Raises `ModelError` (exit code 3) if the model cannot be used and `UsageError` for wrong options.
    """
    gguf = find_gguf(name)
    path = NO_MODEL if gguf else locate(name)
    options: dict[str, Any] = {"revision": revision, "trust_remote_code": trust_remote_code}
    if gguf:
        options["gguf_file"] = str(gguf.path)
    with explain_load_error(name, path, options), quiet_transformers():
        base = _adapter_base(path, name, revision)
        sentence = None if base else sentence_model(path, name, revision)
        if sentence is not None and sentence.subfolder:
            options["subfolder"] = sentence.subfolder
        if base:
            model, info = _load_adapter(_load_base(base, name, head, dtype, options), path, name, revision)
            if read_json(path, "tokenizer_config.json", revision=revision) is None:
                path, options = locate(base), {**options, "revision": None}
        else:
            with heeded_progress_bars() if gguf else nullcontext():
                model, info = _load_model(path, name, head, dtype, options)
        source = _load_tokenizer(tokenizer, path, name, options)
        target = _load_tokenizer(target_tokenizer, path, name, options) if target_tokenizer else source
        model.train(False)
        chosen_device = _device(device)
        if chosen_device is not None and getattr(model, "hf_device_map", None) is None:
            model.to(chosen_device)  # type: ignore[arg-type]
        loaded = Loaded(
            model,
            source,
            target,
            name,
            revision,
            class_reason=info.get("class_reason", ""),
            generation=info.get("generation"),
            initialised=tuple(sorted(info["missing_keys"])),
            unused=unused_weights(model, info),
            sentence=sentence or SentenceModel(),
            gguf=gguf,
        )
        _ = loaded.max_positions, loaded.is_encoder_decoder  # fail now if the configuration is wrong
    return loaded


def wrap_model(model: Any, tokenizer: Any = None, target_tokenizer: Any = None) -> Loaded:
    """Return a model of the user as `Loaded`, without changing it.

    model  a Transformers model, or an object that `unwrap` knows, such as a compiled model or a pipeline
    Raise UsageError if the object holds no Transformers model, or a model without weights.
    """
    inner, tokenizer = unwrap(model, tokenizer)
    target = tokenizer if target_tokenizer is None else check_tokenizer(target_tokenizer)
    label = str(getattr(inner.config, "name_or_path", "") or type(inner).__name__)
    loaded = Loaded(inner, tokenizer, target, label, sentence=SentenceModel(pooling=pooling_of(model)))
    if loaded.device.type == "meta":
        raise UsageError(f"{type(inner).__name__} has no weights (device meta): load them before the capture")
    return loaded


def _adapter_base(path: str, name: str, revision: str | None) -> str | None:
    """Return the base model that an adapter (LoRA and others, as PEFT saves them) names; None without an adapter.

    Raises `ModelError` if PEFT is not installed, the adapter names no base model, or learned a prompt.
    """
    if (Path(path) / "config.json").is_file() or find_adapter_config_file(path, revision=revision) is None:
        return None
    try:
        from peft import PeftConfig
    except ImportError as error:
        raise ModelError(f"model '{name}' is an adapter: pip install \"attncli[adapters]\" to load it") from error
    config: Any = PeftConfig.from_pretrained(path, revision=revision)
    base: str | None = config.base_model_name_or_path
    if not base:
        raise ModelError(f"adapter '{name}' names no base model: write base_model_name_or_path to adapter_config.json")
    if config.is_prompt_learning or config.is_adaption_prompt:
        raise ModelError(
            f"adapter '{name}' ({config.peft_type.value}) adds learned vectors that are read with the text, which "
            f"cannot be measured; give an adapter that changes weights, such as LoRA, or the base model '{base}'"
        )
    return base


def _load_adapter(loaded: LoadedWeights, path: str, name: str, revision: str | None) -> LoadedWeights:
    """Load an adapter into its base model, and return which weights are still missing.

    Raises `ModelError` if the adapter belongs to another model.
    """
    model, info = loaded
    report: Any = model.load_adapter(path, adapter_kwargs={"revision": revision})
    keys = sorted([*report.missing_keys, *report.unexpected_keys, *(key for key, *_ in report.mismatched_keys)])
    if keys:
        from peft import load_peft_weights

        keys = load_magnitudes(model, keys, load_peft_weights(path, device="cpu", revision=revision))
    if keys:
        raise ModelError(
            f"adapter '{name}' does not fit {type(model).__name__}: {len(keys)} weights differ, the first is {keys[0]}"
        )
    # parts of the base model that the adapter replaces as a whole, such as a classifier
    replaced = tuple(f"{part}." for part, module in model.named_modules() if hasattr(module, "modules_to_save"))
    missing = {key for key in info["missing_keys"] if not key.startswith(replaced)}
    return model, {**info, "missing_keys": missing}


def _load_base(base: str, adapter: str, head: str, dtype: str, options: dict[str, Any]) -> LoadedWeights:
    """Return the base model of an adapter, and how its weights were loaded."""
    path, own_options = locate(base), {**options, "revision": None}
    with explain_load_error(base, path, own_options, f"the base model '{base}' of adapter '{adapter}'"):
        return _load_model(path, base, head, dtype, own_options)


def _load_model(path: str, name: str, head: str, dtype: str, options: dict[str, Any]) -> LoadedWeights:
    """Return the model, loaded by the first class that finds all its weights, and how its weights were loaded.

    `class_reason` says why an earlier class was not used, "" if the first was. Raises ModelError if no class finds all
    weights.
    """
    config = AutoConfig.from_pretrained(path, **options)
    if dtype not in DTYPES:
        raise UsageError(f"unknown --dtype '{dtype}': {did_you_mean(dtype, DTYPES)}")
    model_options = {
        **options,
        "dtype": dtype if dtype == "auto" else getattr(torch, dtype),
        "attn_implementation": "eager",
        "output_loading_info": True,
        "ignore_mismatched_sizes": True,  # so that problem_with_weights can name them
    }
    if "gguf_file" in options:
        model_options |= gguf_options(config)
    stored = read_json(path, "generation_config.json", **place_of(options))
    if isinstance(stored, dict):  # Transformers refuses settings that exclude each other, which greedy needs not
        model_options["generation_config"] = GenerationConfig(**greedy_settings(stored))  # type: ignore[no-untyped-call]
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
        restore_cuts(model, path, loading_info)
        missing = problem_with_weights(model, loading_info)
        if not missing:
            return model, {**loading_info, "class_reason": problem, "generation": stored}
        problem = problem or f"as {type(model).__name__} {missing}"
    problem = problem or f"{config.model_type} loads through none of {', '.join(dict.fromkeys(unfit))}"
    raise ModelError(f"model '{name}': {problem}; choose another --head or checkpoint")


def _auto_classes(config: PreTrainedConfig, head: str) -> Iterator[Any]:
    """Return the classes to try: that of the demanded head; or the base model, then the class of the checkpoint."""
    if head not in ("auto", AUTO_LM, AUTO_HEAD):
        if head not in HEADS:
            raise UsageError(f"unknown --head '{head}': {did_you_mean(head, [*HEADS, 'auto'])}")
        yield getattr(transformers, HEADS[head])
        return
    two_stacks = bool(getattr(config, "is_encoder_decoder", False))
    stated = next(iter(getattr(config, "architectures", None) or []), None)
    checkpoint_class = getattr(transformers, stated, None) if isinstance(stated, str) else None
    if head == AUTO_HEAD and checkpoint_class is not None:
        yield checkpoint_class
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


def _load_tokenizer(tokenizer: str | None, path: str, name: str, options: dict[str, Any]) -> Any:
    """Return the tokenizer of this folder or hub id, or that of the model at `path` if none is named.

    Raises `ModelError` if it cannot be used.
    """
    if tokenizer is not None:
        path, options = tokenizer, {key: options[key] for key in ("revision", "trust_remote_code")}
        if gguf := find_gguf(tokenizer):
            path, options["gguf_file"] = NO_MODEL, str(gguf.path)
        else:
            check_files(Path(tokenizer))
    with explain_load_error(name, path, options, f"tokenizer '{tokenizer}'" if tokenizer else ""):
        return _usable_tokenizer(path, name, options)


def _usable_tokenizer(path: str, name: str, options: dict[str, Any]) -> Any:
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, **options)
        limit = tokenizer.model_max_length
        if not isinstance(limit, int | float):
            raise TypeError(f"model_max_length in tokenizer_config.json is {limit!r:.60}, expected a number")
        tokenizer("a")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        if is_remote_code(error):
            raise
        problem = f"model '{name}' has no usable tokenizer ({first_line(error)})"
        raise ModelError(f"{problem}; name one with --tokenizer") from error
    # some tokenizers load without vocabulary files, and then know no word
    if set(tokenizer.get_vocab()) <= set(tokenizer.all_special_tokens) and tokenizer.vocab_size < 256:
        raise ModelError(f"model '{name}' has no tokenizer files; name a tokenizer with --tokenizer")
    return tokenizer


def device_named(name: str) -> torch.device:
    """Return the device that a model is loaded to; raise UsageError if there is none of this name."""
    return _device(name) or torch.device("cpu")


def _device(name: str) -> torch.device | None:
    """Return the device of this name; `auto` is a GPU if there is one, else None."""
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        return next((torch.device(kind) for kind in available if available[kind]), None)
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"unknown --device '{name}': expected auto, cpu, cuda, cuda:N or mps") from error
    if device.type not in ("cpu", *available):
        raise UsageError(f"unknown --device '{name}': expected auto, cpu, cuda, cuda:N or mps")
    if device.type == "cuda" and not available["cuda"]:
        raise UsageError(f"--device {name}: this torch finds no CUDA device; use --device cpu")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f"--device {name}: there are only {torch.cuda.device_count()} CUDA devices")
    if device.type == "mps" and not available["mps"]:
        raise UsageError("--device mps: this torch finds no Apple GPU; use --device cpu")
    return device
