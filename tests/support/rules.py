"""The rules of the architecture: each is a function that returns the breaches in a package; no code is run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

Layers = Sequence[Sequence[str]]
"""Packages from the bottom up: a package imports from itself and from lower layers, not from others of its layer."""

HEAVY = {
    "accelerate",
    "captum",
    "datasets",
    "gguf",
    "huggingface_hub",
    "keras",
    "matplotlib",
    "numpy",
    "pandas",
    "peft",
    "pyarrow",
    "pydantic",
    "ray",
    "rich",
    "safetensors",
    "scipy",
    "seaborn",
    "sklearn",
    "tensorboard",
    "tokenizers",
    "torch",
    "transformers",
    "typer",
    "umap",
    "xarray",
    "yaml",
    "zstandard",
}
WRITING_METHODS = {
    "write_text",
    "write_bytes",
    "savefig",
    "tofile",
    "touch",
    "mkdir",
    "rmdir",
    "unlink",
    "save_file",
    "write_table",
    "to_parquet",
}
WRITING_FUNCTIONS = {
    "os": {
        "open",
        "replace",
        "rename",
        "remove",
        "unlink",
        "mkdir",
        "makedirs",
        "rmdir",
        "truncate",
        "link",
        "symlink",
    },
    "shutil": {"copy", "copy2", "copyfile", "copytree", "move", "rmtree"},
    "tempfile": {"mkstemp", "mkdtemp", "NamedTemporaryFile", "TemporaryDirectory"},
    "np": {"save", "savez", "savez_compressed", "savetxt"},
    "torch": {"save"},
    "json": {"dump"},
    "pickle": {"dump"},
}


@dataclass(frozen=True)
class Import:
    """One imported name; `late`: inside a function; `typing`: only for the type checker."""

    target: str
    line: int
    late: bool
    typing: bool


@dataclass(frozen=True)
class Module:
    """A parsed file."""

    name: str
    path: Path
    tree: ast.Module
    imports: tuple[Import, ...]


class Package:
    """The parsed modules of the package in a folder."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        self.folder = folder
        self.files = {_module_name(folder, path): path for path in sorted(folder.rglob("*.py"))}

    @cached_property
    def modules(self) -> dict[str, Module]:
        """The modules by dotted name."""
        return {name: self._parse(name, path) for name, path in self.files.items()}

    def _parse(self, name: str, path: Path) -> Module:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        package = name if path.name == "__init__.py" else name.rpartition(".")[0]
        return Module(name, path, tree, tuple(self._imports(tree, package, late=False, typing=False)))

    def _imports(self, node: ast.AST, package: str, *, late: bool, typing: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                yield from (Import(alias.name, child.lineno, late, typing) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = _absolute(child, package)
                for alias in child.names:
                    inner = f"{base}.{alias.name}"
                    target = inner if inner in self.files else base
                    yield Import(target, child.lineno, late, typing)
            elif isinstance(child, ast.If) and _is_type_checking(child.test):
                yield from self._imports(child, package, late=late, typing=True)
            else:
                inside = late or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
                yield from self._imports(child, package, late=inside, typing=typing)

    def own(self, module: Module) -> list[Import]:
        """Return the imports of modules of the package itself."""
        return [found for found in module.imports if _top(found.target) == self.name]

    def lies_in(self, module: str, packages: Sequence[str]) -> bool:
        """Return whether a module lies in one of these packages or modules, such as `store` or `studies.*.figures`."""
        inside = module.removeprefix(f"{self.name}.")
        return any(fnmatchcase(inside, pattern) for name in packages for pattern in (name, f"{name}.*"))

    def layer_package(self, module: str, layers: Layers) -> str | None:
        """Return the longest name in the layers that a module lies under."""
        inside = module.removeprefix(self.name).lstrip(".") or "__init__"
        packages = [name for layer in layers for name in layer if f"{inside}.".startswith(f"{name}.")]
        return max(packages, key=len, default=None)


def _module_name(folder: Path, path: Path) -> str:
    parts = (folder.name, *path.relative_to(folder).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def _absolute(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    base = package.split(".")[: len(package.split(".")) - node.level + 1]
    return ".".join([*base, *([node.module] if node.module else [])])


def _is_type_checking(test: ast.expr) -> bool:
    return ast.unparse(test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def _top(name: str) -> str:
    return name.partition(".")[0]


# --------------------------------------------------------------------------------------------- imports


def one_way(package: Package, layers: Layers) -> list[str]:
    """Return modules without a layer, and imports that do not point to a lower layer."""
    layer_of = {name: number for number, layer in enumerate(layers) for name in layer}
    breaches = []
    for module in package.modules.values():
        own = package.layer_package(module.name, layers)
        if own is None:
            breaches.append(f"{module.name} has no layer: give it one in test_architecture.py")
            continue
        for imported in package.own(module):
            other = package.layer_package(imported.target, layers)
            if other is not None and other != own and layer_of[other] >= layer_of[own]:
                breaches.append(f"{module.name}:{imported.line} imports {imported.target}, which is not below it")
    return breaches


def no_cycles(package: Package) -> list[str]:
    """Return modules that import themselves through others, late and type-only imports included."""
    graph = {
        name: {found.target for found in package.own(module)} & set(package.files)
        for name, module in package.modules.items()
    }
    return [f"{name} imports itself by way of others" for name in graph if name in _reachable(graph, name)]


def _reachable(graph: Mapping[str, Iterable[str]], start: str) -> set[str]:
    seen: set[str] = set()
    ahead = list(graph[start])
    while ahead:
        name = ahead.pop()
        if name not in seen:
            seen.add(name)
            ahead.extend(graph[name])
    return seen


def late_only_if_heavy(package: Package) -> list[str]:
    """Return imports inside functions that load nothing heavy; only a heavy package may be imported late."""
    loads = {
        name: {found.target for found in module.imports if not found.late and not found.typing}
        for name, module in package.modules.items()
    }
    heavy_own = {name for name in loads if any(_top(t) in HEAVY for t in _all_loaded(loads, name))}
    return [
        f"{module.name}:{found.line} imports {found.target} inside a function, though it is not heavy"
        for module in package.modules.values()
        for found in module.imports
        if found.late and _top(found.target) not in HEAVY and found.target not in heavy_own
    ]


def _all_loaded(loads: Mapping[str, set[str]], name: str) -> set[str]:
    own = {known: {t for t in targets if t in loads} for known, targets in loads.items()}
    return loads[name].union(*(loads[other] for other in _reachable(own, name)))


def known_only_in(package: Package, library: str, packages: Sequence[str]) -> list[str]:
    """Return imports of a library outside these packages; type-only imports load nothing and are allowed."""
    return [
        f"{module.name}:{found.line} imports {library}, which only {', '.join(packages)} may know"
        for module in package.modules.values()
        if not package.lies_in(module.name, packages)
        for found in module.imports
        if _top(found.target) == library and not found.typing
    ]


def never_in(package: Package, library: str, name: str) -> list[str]:
    """Return imports of a library in this package, type-only ones included."""
    return [
        f"{module.name}:{found.line} imports {library}, which {name} must never see"
        for module in package.modules.values()
        if package.lies_in(module.name, [name])
        for found in module.imports
        if _top(found.target) == library
    ]


# -------------------------------------------------------------------------------------- what code does


def _outside(package: Package, packages: Sequence[str]) -> Iterator[Module]:
    for module in package.modules.values():
        if not package.lies_in(module.name, packages):
            yield module


def prints_only_in(package: Package, packages: Sequence[str]) -> list[str]:
    """Return uses of print, echo and the standard streams outside these packages."""
    return [
        f"{module.name}:{node.lineno} prints ({what}): only {', '.join(packages)} may"
        for module in _outside(package, packages)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Name | ast.Attribute)
        if (what := ast.unparse(node)) in _PRINTING
    ]


_PRINTING = {
    "print",
    "sys.stdout",
    "sys.stderr",
    "sys.__stdout__",
    "sys.__stderr__",
    "typer.echo",
    "typer.secho",
    "click.echo",
}


def writes_only_in(package: Package, packages: Sequence[str]) -> list[str]:
    """Return calls that make, change or remove files outside these packages."""
    return [
        f"{module.name}:{node.lineno} writes a file ({ast.unparse(node.func)}): only {', '.join(packages)} may"
        for module in _outside(package, packages)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and _writes(node)
    ]


def _writes(call: ast.Call) -> bool:
    if call.args and ast.unparse(call.args[0]) == "os.devnull":
        return False
    match call.func:
        case ast.Name("open"):
            return _write_mode(call, 1)
        case ast.Attribute(ast.Name(module), name) if module in WRITING_FUNCTIONS:
            return name in WRITING_FUNCTIONS[module]
        case ast.Attribute(_, "open"):
            return _write_mode(call, 0)
        case ast.Attribute(_, name) | ast.Name(name):
            return name in WRITING_METHODS
    return False


def _write_mode(call: ast.Call, position: int) -> bool:
    modes = [word.value for word in call.keywords if word.arg == "mode"] + call.args[position : position + 1]
    text = modes[0].value if modes and isinstance(modes[0], ast.Constant) else "r" if not modes else "?"
    return isinstance(text, str) and bool(set(text) & set("wax+?"))


def no_work_on_import(package: Package) -> list[str]:
    """Return statements at the top level of modules that do more than define something."""
    return [
        f"{module.name}:{node.lineno} does work on import: {ast.unparse(node).splitlines()[0]}"
        for module in package.modules.values()
        if not module.name.endswith(".__main__")
        for node in module.tree.body
        if not _defines(node)
    ]


def _defines(node: ast.stmt) -> bool:
    match node:
        case ast.Import() | ast.ImportFrom() | ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return True
        case ast.Expr(ast.Constant()):
            return True
        case ast.Assign(targets):
            return all(isinstance(target, ast.Name | ast.Tuple) for target in targets)
        case ast.AnnAssign(ast.Name()) | ast.AugAssign(ast.Name()):
            return True
        case ast.If(test):
            return _is_type_checking(test)
    return False


# ------------------------------------------------------------------------------------------------ size


def small_files(package: Package, lines: int) -> list[str]:
    """Return files with more lines than this."""
    return [
        f"{name} has {size} lines, more than {lines}: split it"
        for name, path in package.files.items()
        if (size := len(path.read_text(encoding="utf-8").splitlines())) > lines
    ]


def small_functions(package: Package, lines: int) -> list[str]:
    """Return functions with more lines than this, docstrings aside."""
    return [
        f"{module.name}:{node.lineno} {node.name} has {size} lines, more than {lines}: split it"
        for module in package.modules.values()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        if (size := _length(node)) > lines
    ]


def _length(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    first = node.body[0]
    docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    skipped = (first.end_lineno or 0) - first.lineno + 1 if docstring else 0
    return (node.end_lineno or 0) - node.lineno + 1 - skipped


# ------------------------------------------------------------------------------------------------ names


def plain_names(package: Package, forbidden: Iterable[str]) -> list[str]:
    """Return modules and classes whose names contain a word that the vocabulary replaces."""
    words = set(forbidden)
    return [
        f"{where} uses the word '{word}' in '{name}': the vocabulary has another"
        for where, name in _module_and_class_names(package)
        for word in _words(name)
        if word in words
    ]


def names_used_once(package: Package, alike: Sequence[str] = ()) -> list[str]:
    """Return public classes that share a name; packages in `alike` may have the same classes, each once."""
    homes: dict[tuple[str, str], list[str]] = {}
    for module in package.modules.values():
        own = next((name for name in alike if package.lies_in(module.name, (name,))), "")
        for node in module.tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault((node.name, own), []).append(f"{module.name}:{node.lineno}")
    return [
        f"class {name} is defined in {' and '.join(places)}" for (name, _), places in homes.items() if len(places) > 1
    ]


def _module_and_class_names(package: Package) -> Iterator[tuple[str, str]]:
    for module in package.modules.values():
        yield module.name, module.name.rpartition(".")[2]
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ClassDef):
                yield f"{module.name}:{node.lineno}", node.name


def _words(name: str) -> list[str]:
    """Return the words of a name in lower case: `_HeadRows` → head, rows."""
    return [word.lower() for part in name.split("_") for word in re.findall(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])", part)]
