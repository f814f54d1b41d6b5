"""The laws of the house, each a function from a package's source to its breaches; nothing is run."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

# Rooms from the ground up: a room imports from itself and lower floors; rooms of one floor are strangers.
Floors = Sequence[Sequence[str]]

HEAVY = {
    "accelerate",
    "huggingface_hub",
    "matplotlib",
    "numpy",
    "pandas",
    "peft",
    "pyarrow",
    "pydantic",
    "rich",
    "safetensors",
    "scipy",
    "seaborn",
    "sklearn",
    "tokenizers",
    "torch",
    "transformers",
    "typer",
    "xarray",
    "yaml",
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
    """One import statement's target; `late`: inside a function; `typing`: only for the type checker."""

    target: str
    line: int
    late: bool
    typing: bool


@dataclass(frozen=True)
class Module:
    """One parsed file."""

    name: str
    path: Path
    tree: ast.Module
    imports: tuple[Import, ...]


class Package:
    """All modules of the package in a folder, parsed."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        self.folder = folder
        self.files = {_module_name(folder, path): path for path in sorted(folder.rglob("*.py"))}

    @cached_property
    def modules(self) -> dict[str, Module]:
        """Modules by dotted name."""
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
        """The imports of the package's own modules."""
        return [found for found in module.imports if _top(found.target) == self.name]

    def lies_in(self, module: str, rooms: Sequence[str]) -> bool:
        """Return whether a module lies in one of these packages or modules, such as `store` or `studies.*.figures`."""
        inside = module.removeprefix(f"{self.name}.")
        return any(fnmatchcase(inside, pattern) for room in rooms for pattern in (room, f"{room}.*"))

    def room(self, module: str, floors: Floors) -> str | None:
        """The room of a module: the longest name among the floors that it lies under."""
        inside = module.removeprefix(self.name).lstrip(".") or "__init__"
        rooms = [room for floor in floors for room in floor if f"{inside}.".startswith(f"{room}.")]
        return max(rooms, key=len, default=None)


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


def one_way(package: Package, floors: Floors) -> list[str]:
    """Every module has a room, and a room imports only from lower floors."""
    floor_of = {room: number for number, floor in enumerate(floors) for room in floor}
    found = []
    for module in package.modules.values():
        room = package.room(module.name, floors)
        if room is None:
            found.append(f"{module.name} has no room: give it a floor in test_architecture.py")
            continue
        for imported in package.own(module):
            other = package.room(imported.target, floors)
            if other is not None and other != room and floor_of[other] >= floor_of[room]:
                at = f"{module.name}:{imported.line}"
                found.append(f"{at} imports {imported.target}, which is not below it")
    return found


def no_cycles(package: Package) -> list[str]:
    """No module reaches itself through imports, also not through late or type-only ones."""
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
    """An import inside a function keeps a heavy package out of start-up; nothing else excuses it."""
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


def known_only_in(package: Package, library: str, rooms: Sequence[str]) -> list[str]:
    """A library is imported in these rooms only (type-only imports load nothing and are free)."""
    return [
        f"{module.name}:{found.line} imports {library}, which only {', '.join(rooms)} may know"
        for module in package.modules.values()
        if not package.lies_in(module.name, rooms)
        for found in module.imports
        if _top(found.target) == library and not found.typing
    ]


def never_in(package: Package, library: str, room: str) -> list[str]:
    """A library is imported nowhere in this room, also not for types."""
    return [
        f"{module.name}:{found.line} imports {library}, which {room} must never see"
        for module in package.modules.values()
        if package.lies_in(module.name, [room])
        for found in module.imports
        if _top(found.target) == library
    ]


# -------------------------------------------------------------------------------------- what code does


def _outside(package: Package, rooms: Sequence[str]) -> Iterator[Module]:
    for module in package.modules.values():
        if not package.lies_in(module.name, rooms):
            yield module


def prints_only_in(package: Package, rooms: Sequence[str]) -> list[str]:
    """No print, echo or use of the standard streams outside these modules or folders."""
    return [
        f"{module.name}:{node.lineno} talks to the user ({what}): only {', '.join(rooms)} may"
        for module in _outside(package, rooms)
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Name | ast.Attribute)
        if (what := ast.unparse(node)) in _TALK
    ]


_TALK = {
    "print",
    "sys.stdout",
    "sys.stderr",
    "sys.__stdout__",
    "sys.__stderr__",
    "typer.echo",
    "typer.secho",
    "click.echo",
}


def writes_only_in(package: Package, rooms: Sequence[str]) -> list[str]:
    """No file or folder is made, changed or removed outside these modules or folders."""
    return [
        f"{module.name}:{node.lineno} writes a file ({ast.unparse(node.func)}): only {', '.join(rooms)} may"
        for module in _outside(package, rooms)
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
    """A module's top level only defines: no call for its effect, no loop, nothing foreign changed."""
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
    """No file is longer than this."""
    return [
        f"{name} has {size} lines, more than {lines}: split it"
        for name, path in package.files.items()
        if (size := len(path.read_text(encoding="utf-8").splitlines())) > lines
    ]


def small_functions(package: Package, lines: int) -> list[str]:
    """No function is longer than this, its docstring aside."""
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
