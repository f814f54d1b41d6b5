"""Loading a model and its tokenizer: the only room besides capture that knows Transformers."""

from __future__ import annotations

import inspect
import json
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel

from attncli.data import RunInfo
from attncli.errors import ModelError, UsageError, did_you_mean

DEMO = Path(__file__).parent / "demo"
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

_log = logging.getLogger("attncli")


@dataclass(frozen=True, eq=False)
class Loaded:
    """A model in eval mode with the tokenizers that make and name its tokens.

    tokenizer is None only for a model that its user handed over without one.
    """

    model: PreTrainedModel
    tokenizer: Any
    target_tokenizer: Any
    name: str
    revision: str | None = None

    @property
    def is_encoder_decoder(self) -> bool:
        """Whether a decoder of its own reads text too (MusicGen's and Dia's read codes of sound)."""
        config = self.model.config
        reads_ids = "decoder_input_ids" in inspect.signature(self.model.forward).parameters
        decoders = [getattr(config, name, None) for name in ("decoder", "decoder_config", "text_config")]
        codes = any(hasattr(one, "num_codebooks") or hasattr(one, "num_channels") for one in decoders)
        return bool(getattr(config, "is_encoder_decoder", False)) and reads_ids and not codes

    @property
    def architecture(self) -> str:
        return str(self.model.config.model_type)

    @property
    def device(self) -> torch.device:
        """Where inputs go: with the embeddings, which may lie elsewhere than the last layers (`device_map`)."""
        try:
            embeddings = self.model.get_input_embeddings()
            return next(embeddings.parameters()).device
        except (NotImplementedError, AttributeError, StopIteration):
            return torch.device(self.model.device)

    @property
    def max_positions(self) -> int | None:
        """How many tokens the model can read, None where its configuration sets no end."""
        return max_positions(self.model)

    @cached_property
    def callers(self) -> list[tuple[str, Callable[..., Any]]]:
        """The ways to run the model from text alone, in order of preference."""
        return list(_callers(self.model))

    def run_info(self, capture: str = "") -> RunInfo:
        """Where the results of a run of this model come from."""
        names = ("attncli", "transformers", "torch", "tokenizers")
        return RunInfo(
            model=self.name,
            revision=self.revision,
            cls=type(self.model).__name__,
            architecture=self.architecture,
            dtype=str(self.model.dtype).removeprefix("torch."),
            device=str(self.device),
            capture=capture,
            tokenizer=type(self.tokenizer).__name__ if self.tokenizer is not None else "",
            versions={name: version(name) for name in names},
        )


def max_positions(model: PreTrainedModel) -> int | None:
    """The longest input: rows of a learned position table, else what the configuration says."""
    try:
        config = model.config.get_text_config()
    except ValueError:  # two text towers (MusicGen): the encoder is the one that reads the text
        config = model.config.get_text_config(encoder=True)
    names = ("max_position_embeddings", "n_positions", "max_source_positions", "n_ctx", "max_seq_len")
    limits = [value for name in names if isinstance(value := getattr(config, name, None), int) and value > 0]
    if not limits:
        return None
    # RoBERTa and its kin start counting behind the padding index, so that many rows of the table are never reached
    padded = config.model_type in _PADDED_POSITIONS
    return limits[0] - (config.pad_token_id or 0) - 1 if padded else limits[0]


_PADDED_POSITIONS = frozenset(
    [
        "roberta",
        "xlm-roberta",
        "xlm-roberta-xl",
        "camembert",
        "roberta-prelayernorm",
        "xmod",
        "longformer",
        "mpnet",
        "esm",
        "ibert",
        "data2vec-text",
        "layoutlmv3",
        "lilt",
        "luke",
        "mluke",
        "altclip",
        "ernie_m",
    ]
)


# -------------------------------------------------------------------------------------------- loading


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

    Raises `ModelError` (exit code 3) where the model cannot serve and `UsageError` for wrong options.
    """
    path = _locate(name)
    common = {"revision": revision, "trust_remote_code": trust_remote_code}
    with _explained(name, trust_remote_code), _quiet_transformers():
        config = AutoConfig.from_pretrained(path, **common)
        model = _load_model(path, name, config, head, dtype, common)
        text_tokenizer = _load_tokenizer(tokenizer or path, name, common)
        other = _load_tokenizer(target_tokenizer, name, common) if target_tokenizer else text_tokenizer
    model.train(False)
    place = _device(device)
    if place is not None and getattr(model, "hf_device_map", None) is None:
        model.to(place)  # type: ignore[arg-type]
    return Loaded(model, text_tokenizer, other, name, revision)


def adopt(model: PreTrainedModel, tokenizer: Any = None, name: str | None = None) -> Loaded:
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
            raise UsageError(f"unknown demo model '{name}': {did_you_mean(name, DEMOS)}")
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
    if not (folder / "config.json").is_file():
        raise ModelError(f"model folder '{folder}' has no config.json; give the folder that save_pretrained wrote")
    if not any(any(folder.glob(pattern)) for pattern in _WEIGHTS):
        raise ModelError(f"model folder '{folder}' has no weights; expected model.safetensors beside config.json")


def _load_model(path: str, name: str, config: Any, head: str, dtype: str, common: dict[str, Any]) -> PreTrainedModel:
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
    if head != "auto":
        if head not in HEADS:
            raise UsageError(f"unknown --head '{head}': {did_you_mean(head, [*HEADS, 'auto'])}")
        yield getattr(transformers, HEADS[head])
        return
    stated = next(iter(getattr(config, "architectures", None) or []), None)
    own = getattr(transformers, stated, None) if stated else None
    # without a target the decoder must write one itself, which only the full model can; and some base models read
    # no ids, but what another module made of them (Perceiver, SpeechT5)
    if own is not None and (getattr(config, "is_encoder_decoder", False) or not _base_reads_ids(config)):
        yield own
    yield transformers.AutoModel
    if own is not None:
        yield own
    yield from (getattr(transformers, auto) for auto in HEADS.values())


def _base_reads_ids(config: Any) -> bool:
    try:
        found: Any = transformers.AutoModel._model_mapping[type(config)]
    except (KeyError, ValueError):
        return False
    base = found[0] if isinstance(found, tuple) else found
    return "input_ids" in inspect.signature(base.forward).parameters


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
        if _is_remote_code(error):
            raise
        problem = f"model '{name}' has no usable tokenizer ({_first_line(error)})"
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


# --------------------------------------------------------------------------------------------- errors


@contextmanager
def _explained(name: str, trusted: bool) -> Iterator[None]:
    """Whatever Transformers says of a model that does not load, in one line of ours."""
    try:
        yield
    except (ModelError, UsageError):
        raise
    except Exception as error:  # the loading code of 500 architectures and of the hub: anything can come
        if _is_remote_code(error) and not trusted:
            raise ModelError(
                f"model '{name}' needs code of its own ({_remote_files(name)}), which would run with your "
                "rights; read it, then pass --trust-remote-code"
            ) from error
        raise ModelError(f"model '{name}' could not be loaded: {_reason(name, error)}") from error


def _is_remote_code(error: BaseException) -> bool:
    return "trust_remote_code" in str(error)


def _remote_files(name: str) -> str:
    config = Path(name).expanduser() / "config.json"
    if not config.is_file():
        return "the Python files of its repository"
    auto_map = json.loads(config.read_text(encoding="utf-8")).get("auto_map", {})
    values = auto_map.values()
    targets = [target for value in values for target in ([value] if isinstance(value, str) else value)]
    files = sorted({str(target).split("--")[-1].split(".")[0] + ".py" for target in targets if target})
    return ", ".join(files) or "Python files in its folder"


def _reason(name: str, error: Exception) -> str:
    kinds = {type(cause).__name__ for cause in _causes(error)}
    text = " ".join(str(cause) for cause in _causes(error))
    if Path(name).expanduser().is_dir():
        if "FileNotFoundError" in kinds:
            return f"a file is missing ({_first_line(error)})"
        if "SafetensorError" in kinds or "safetensors" in text.lower() or "header" in text.lower():
            return f"its safetensors file is corrupt or incomplete ({_first_line(error)})"
        return _first_line(error)
    offline = {"OfflineModeIsEnabled", "LocalEntryNotFoundError", "ConnectionError", "ConnectError"}
    if kinds & offline or "connect" in text.lower() or "offline" in text.lower():
        return (
            "it is neither a folder nor in the local cache, and the Hugging Face hub cannot be reached "
            "(HF_HUB_OFFLINE set, or no network); give a folder, or demo:encoder"
        )
    if {"RepositoryNotFoundError", "GatedRepoError"} & kinds:
        return "the hub has no such model, or it is private or gated: check the name or run hf auth login"
    return _first_line(error)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}"[:300] if lines else type(error).__name__


@contextmanager
def _quiet_transformers() -> Iterator[None]:
    """No loading bars or advice on half-loaded heads; what matters of it, we say ourselves."""
    logging_: Any = transformers.utils.logging
    hub = logging.getLogger("huggingface_hub")
    before = logging_.get_verbosity(), logging_.is_progress_bar_enabled(), hub.level
    if not _log.isEnabledFor(logging.DEBUG):
        logging_.set_verbosity_error()
        logging_.disable_progress_bar()
        hub.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging_.set_verbosity(before[0])
        if before[1]:
            logging_.enable_progress_bar()
        hub.setLevel(before[2])


# ---------------------------------------------------------------------------------------- ways to run


_NO_TEXT = re.compile("audio|codec|image|protein|speech|vision|visual")


def _callers(model: PreTrainedModel) -> Iterator[tuple[str, Any]]:
    """The whole model, then its parts that read token ids of text; no decoder without its encoder."""
    yield "forward", model
    if hasattr(model, "get_text_features"):
        yield "get_text_features", model.get_text_features
    two_stacks = bool(getattr(model.config, "is_encoder_decoder", False))
    for name, module in model.named_modules():
        if not name or not isinstance(module, PreTrainedModel) or _NO_TEXT.search(name):
            continue
        if _reads_ids(module) and not (two_stacks and "decoder" in name):
            yield name, module


def _reads_ids(module: PreTrainedModel) -> bool:
    if "input_ids" not in inspect.signature(module.forward).parameters:
        return False
    try:
        return isinstance(module.get_input_embeddings(), torch.nn.Module)
    except NotImplementedError:
        return any(isinstance(child, torch.nn.Embedding) for child in module.children())
