"""Nonsense as an argument of the Python API: UsageError in one short line, never a TypeError from inside."""

from __future__ import annotations

import inspect
import re
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args, is_typeddict

import families
import numpy as np
import pytest
import torch
from families import FAMILIES

import attncli
from attncli import UsageError
from attncli.arguments import parameter_types
from attncli.data import TokenWindow
from attncli.engine.progress import untracked
from attncli.engine.request import Request, RunOptions
from attncli.studies.heads.study import HeadsStudy

NONSENSE: list[Any] = [
    *(
        None,
        5,
        1.5,
        -1,
        True,
        10**30,
        -(10**30),
        float("nan"),
        float("inf"),
        "x",
        "",
        "9" * 999,
        b"x",
        object(),
        object,
    ),
    *("a/" * 2500, "a\0b", "~nosuchuser/x", "a\ud800"),
    *([], [1.5], [None], ["x"], [10**30], {}, {"a": 1}, (1, 2, 3)),
]


def tiny(name: str) -> attncli.Model:
    """Return a model of 2 layers x 4 heads: accepted values cost as little as refused ones."""
    return attncli.load(families.build(FAMILIES[name]), tokenizer=families.tiny_tokenizer(FAMILIES[name]))


@pytest.fixture(scope="module")
def model() -> attncli.Model:
    return tiny("bert")


def assert_short(error: BaseException) -> None:
    assert len(str(error)) < 500
    assert "\n" not in str(error)


@pytest.mark.parametrize("option", RunOptions.__annotations__)
def test_an_option_is_read_or_refused(option: str) -> None:
    for value in NONSENSE:
        try:
            Request.of({option: value})  # type: ignore[misc]
        except UsageError as error:
            assert_short(error)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": 1.5}, "expected layer like all, 3, -1 or 0,2,5-7 .*, got 1.5"),
        ({"layer": True}, "expected layer like all"),
        ({"head": [0.5]}, "expected head like all"),
        ({"kind": 5}, "expected kind as one or several of encoder, decoder, cross, got 5"),
        ({"metrics": 5}, "expected metrics as one or several names, or 'all', got 5"),
        ({"max_tokens": 10**30}, "expected max_tokens to be at most 9223372036854775807"),
        ({"top_k": True}, "expected top_k to be a number from 1 up"),
        ({"generate": None}, "expected generate to be a number from 0 up"),
        ({"min_weight": True}, "expected min_weight to be above 0"),
        ({"max_memory": True}, "expected max_memory like 500MB"),
        ({"words": "no"}, "expected words to be True or False, got 'no'"),
    ],
)
def test_the_error_of_an_option_says_what_was_expected(options: Any, message: str, model: attncli.Model) -> None:
    with pytest.raises(UsageError, match=message):
        model.run("a cat", **options)


def test_integers_of_numpy_are_numbers(model: attncli.Model) -> None:
    run = model.run("a cat", layer=np.int64(1), head=np.array([0, 2]), words=np.bool_(True))
    assert [(layer.layer, layer.heads) for layer in run.attention().layers] == [(1, (0, 2))]


@pytest.mark.parametrize("value", [value for value in NONSENSE if not isinstance(value, str) and value != ["x"]])
def test_a_text_is_a_text(value: Any, model: attncli.Model) -> None:
    given = [lambda: model.run(value), lambda: model.run(attncli.Text(value))]
    given += [lambda: model.run("a", pair=value)] if value is not None else []
    for run in given:
        with pytest.raises(UsageError) as refused:
            run()
        assert_short(refused.value)


@pytest.mark.parametrize("name", ["name", "revision", "tokenizer", "target_tokenizer", "head", "device", "dtype"])
def test_arguments_of_load_are_texts(name: str) -> None:
    optional = name in ("revision", "tokenizer", "target_tokenizer")
    for value in NONSENSE:
        if isinstance(value, str) or (value is None and optional):
            continue
        with pytest.raises(UsageError, match=f"expected the {name} as a text(, or a Transformers model)?, got"):
            attncli.load(**{name: value})


def test_a_loaded_model_is_loaded_already() -> None:
    loaded = families.build(FAMILIES["bert"])
    for argument, value in {"head": "base", "device": "cpu", "dtype": "float16", "revision": "main"}.items():
        with pytest.raises(UsageError, match=f"^{argument} says how a model is loaded, this one is loaded already"):
            attncli.load(loaded, **{argument: value})
    with pytest.raises(UsageError, match="expected a Transformers tokenizer, got str"):
        attncli.load(loaded, tokenizer="demo:encoder")
    with pytest.raises(UsageError, match="this model has no tokenizer: pass a tokenizer, or encoded inputs"):
        attncli.load(loaded).run("a cat")
    with pytest.raises(UsageError, match=r"expected a Transformers model \(PreTrainedModel\), got Linear"):
        attncli.load(torch.nn.Linear(2, 2))
    with pytest.raises(UsageError, match="expected trust_remote_code to be True or False, got str"):
        attncli.load(trust_remote_code="yes")  # type: ignore[arg-type]


def test_swapped_arguments_are_refused(model: attncli.Model) -> None:
    loaded = model.loaded
    for model_argument, inputs in (
        ([[1, 2]], loaded.model),
        ("demo:encoder", "a text"),
        (loaded.tokenizer, loaded.model),
    ):
        with pytest.raises(UsageError, match="expected a Transformers model"):
            attncli.capture(model_argument, inputs)
    with pytest.raises(UsageError, match="expected encoded inputs with input_ids"):
        attncli.capture(loaded.model, loaded.tokenizer)


@pytest.mark.parametrize("value", [value for value in NONSENSE if value is not None and value not in (5, -1)])
def test_a_map_is_selected_by_whole_numbers_and_known_kinds(value: Any, model: attncli.Model) -> None:
    run = model.run("a cat", layer=0)
    for select in (lambda: run.attention(value), lambda: run.attention().sel(head=value)):
        with pytest.raises(UsageError, match=r"there are|known are|expected (kind|head) to be"):
            select()


def public_functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield the functions of `attncli` and the public methods of its classes that take arguments, by name."""
    for name in attncli.__all__:
        member = getattr(attncli, name)
        if inspect.isfunction(member):
            yield name, member
        elif inspect.isclass(member) and not issubclass(member, Exception) and not is_typeddict(member):
            methods = inspect.getmembers(member, lambda value: isinstance(value, types.FunctionType | types.MethodType))
            for method_name, method in methods:
                ours = method.__module__.startswith("attncli") and not method_name.startswith("_")
                if ours and {*inspect.signature(method).parameters} - {"self"}:
                    yield f"{name}.{method_name}", method


FUNCTIONS = dict(public_functions())
RIGHT: dict[str, Any] = {
    "query": 1,
    "text": "a cat",
    "texts": [attncli.Text("a cat")],
    "request": Request(),
    "capture": "auto",
    "track": untracked,
    "kind": "encoder",
    "name": "vertical",
    "focus": "cat",
    "head": 0,
    "layer": 0,
    "how": "mean",
    "axis": "head",
    "study": HeadsStudy(),
    "notes": "a note",
    "where": "here",
    "metrics": ["sink"],
    "kinds": ["encoder"],
    "sides": (TokenWindow(0, 0), TokenWindow(0, 0)),
    "pool": "mean",
    "layers": (),
    "pieces": ["a"],
    "index": [0],
    "categories": lambda numbers, names: numbers,
    "key": np.array([0]),
    "inputs": {"input_ids": [[1, 2]]},
}
"""A right value for each parameter that has no default; the tests of a new method need one here."""
CALLED = ("track", "take", "categories")
"""Parameters that are functions."""
RIGHT_OF = {
    "Received.table": {"head": np.array([0])},
    "Edges.empty": {"inputs": []},
    "Attention.mean_of_layers": {"weights": None},
    "Importance.scores": {"measure": "cosine"},
    "Model.with_edits": {"edits": [attncli.zero("0.0")]},
    "Pruning.at": {"order": "importance", "count": 1},
    "LogSeries.values": {"name": "sink"},
    "Repeated.best": {"score": "induction"},
    "mean": {"heads": "0.0"},
    "patch": {"heads": "0.0", "text": "a cat"},
    "replace": {"heads": "0.0", "weights": np.eye(2)},
    "scale": {"heads": "0.0", "factor": 0.5},
    "temperature": {"value": 2.0},
    "checkpoints": {"model": "nowhere/*"},
    "load_pruned": {"folder": "nowhere"},
    "window": {"width": 2},
    "Attribution.shares": {"method": "attention"},
    "Attribution.values": {"method": "attention"},
    "Scores.mean": {"axis": "head"},
    "Model.find": {"key": 0},
    "Run.find": {"key": 0},
    "Segments.select": {"query": "a", "key": "cat"},
}


@pytest.fixture(scope="module")
def instances(model: attncli.Model) -> dict[str, Any]:
    """One instance of each public class that has methods with arguments, by the name of the class."""
    run = model.run("a cat", layer=0, head="0,1", profile=True, top_k=1, neurons=True)
    attention, profile, statistics = run.attention(), run.profile(), run.stats(["sink", "entropy"])
    found = [model, run, attention, profile, profile.received[0], run.edges(), run.vectors[0], statistics]
    found += [statistics["sink"], attention.queries, run.inputs[0], run.patterns(), run.highlight(0), run.rollout()]
    found += [model.importance(["a cat", "a dog"]), model.probe_repeated(4, 1), attncli.zero("0.0")]
    found += [model.prune(["a cat", "a dog"], rank_texts=["it sat", "it ran"], heads=1)]
    decoder = tiny("gpt2")
    found += [decoder.knockout("the cat sat on the"), decoder.attribute("the cat sat", "attention")]
    found += [attncli.log("demo:encoder", "a cat", metrics="sink", layer=0), model.qk_map(["a cat", "a dog"], head=0)]
    found += [run.view(), run.info, attention.layers[0], run.segments(spans={"a": [(0, 1)], "cat": [(2, 5)]})]
    return {type(instance).__name__: instance for instance in found}


def bound(name: str, instances: dict[str, Any], model: attncli.Model) -> tuple[Callable[..., Any], dict[str, Any]]:
    """Return a function or a method of an instance, and right values of its parameters without a default."""
    function: Callable[..., Any] = FUNCTIONS[name]
    if "." in name and not inspect.ismethod(function):
        function = getattr(instances[name.partition(".")[0]], name.partition(".")[2])
    run = instances["Run"]
    right = {
        **RIGHT,
        **RIGHT_OF.get(name, {}),
        "model": model.loaded.model,
        "module": model.loaded.model,
        "run_a": run,
        "run_b": run,
    }
    right |= {"path": Path("out.html"), "directory": Path("out")}
    required = [
        parameter.name
        for parameter in inspect.signature(function).parameters.values()
        if parameter.default is parameter.empty and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD,)
    ]
    return function, {parameter: right[parameter] for parameter in required}


def called_with(function: Callable[..., Any], right: dict[str, Any]) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """Yield for each argument of a function, and each option that it takes, what calls it with a value of that."""
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_POSITIONAL:
            yield parameter.name, function
        elif parameter.kind is parameter.VAR_KEYWORD:
            known = (*get_args(parameter_types(function)[parameter.name]), None)[0]
            # all runs read their options in the same way, and so do all pictures
            elsewhere = {**RunOptions.__annotations__} if known is RunOptions and function.__name__ != "run" else {}
            elsewhere |= attncli.PictureArguments.__annotations__ if function.__name__ != "matrix" else {}
            for option in [name for name in getattr(known, "__annotations__", ["kind"]) if name not in elsewhere]:
                yield option, lambda value, option=option: function(**right, **{option: value})
        else:
            yield parameter.name, lambda value, name=parameter.name: function(**{**right, name: value})


@pytest.mark.parametrize("name", FUNCTIONS)
def test_any_argument_is_taken_or_refused(
    name: str, instances: dict[str, Any], model: attncli.Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    function, right = bound(name, instances, model)
    wrong = []
    for argument, call in called_with(function, right):
        for value in NONSENSE:
            try:
                call(value)
            except attncli.AttnError as error:
                assert_short(error)
            except Exception as error:
                if argument in CALLED and value is object:
                    continue  # the error of the function that was given
                wrong.append(f"{name}({argument}={value!r:.40}): {type(error).__name__}: {error!s:.80}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda run: run.heatmap("entropy", 0), "expected layer to be a whole number or None, got 'entropy'"),
        (lambda run: run.heatmap(0, nonsense=1), "unknown option 'nonsense': known are: "),
        (lambda run: run.highlight(0, "cat"), "expected layer to be a whole number or None, got 'cat'"),
        (lambda run: run.attention("encodr"), "there are no maps of kind 'encodr': did you mean 'encoder'?"),
        (lambda run: run.save("out", format="csv"), "unknown format 'csv': known are: npz, safetensors"),
        (lambda run: run.save("out", force="no"), "expected force to be True or False, got 'no'"),
        (lambda run: run.view(height="tall"), "expected height to be a whole number, got 'tall'"),
        (lambda run: run.rollout(residual=5), "expected residual to be True or False, got 5"),
        (lambda run: run.study("heads"), "expected study to be a Study, got 'heads'"),
        (lambda run: run.patterns(attncli.Thresholds(local="x")), "expected local to be a number, got 'x'"),
        (lambda run: run.heads(attncli.HeadsOptions(clusters=1.5)), "expected clusters to be a whole number or None"),
        (lambda run: attncli.compare("sink", run, run), "expected run_a to be a Run, got 'sink'"),
        (lambda run: run.stats(b"sink"), "expected metrics to be several, each a text or a text or None, got b'sink'"),
    ],
)
def test_the_error_of_an_argument_says_what_was_expected(
    call: Callable[[attncli.Run], object], message: str, instances: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, match=f"^{re.escape(message)}"):
        call(instances["Run"])


def test_numbers_of_numpy_are_arguments(instances: dict[str, Any]) -> None:
    attention = instances["Run"].attention(text=np.int64(0)).sel(layer=np.int32(0), head=np.int64(1))
    assert attention.layers[0].heads == (1,)
    assert len(instances["Profile"].sinks_frame(np.float32(2))) == 0
