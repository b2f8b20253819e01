"""The Python source inside an EG3D pickle, looked at without running it.

EG3D's own loader executes that source, so whoever gets a pickle from somebody runs somebody's program. Nothing here
does; but `convert.export` hands the same source back to that loader, and a source that would reach for the system as
soon as it is loaded was planted. It is parsed, never compiled. This is a tripwire and no guarantee: it follows names,
and a program can find its way without them.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache

from convert.errors import ConversionError, shown

# What no network needs while its module is loaded.
REFUSED_BUILTINS = frozenset(
    {'eval', 'exec', 'compile', '__import__', 'open', 'input', 'breakpoint', 'getattr', 'globals', 'locals', 'vars'}
    | {'setattr', 'builtins', '__builtins__', '__loader__', '__spec__'}
)
# The standard library's modules may be imported, but not used while loading, except for these.
STANDARD_MODULES = sys.stdlib_module_names | {'distutils', 'imp', 'pipes'}  # the last three until Python 3.12 or 3.13
HARMLESS_MODULES = frozenset(
    {'__future__', 'abc', 'collections', 'contextlib', 'copy', 'dataclasses', 'enum', 'functools', 'itertools'}
    | {'logging', 'math', 'numbers', 'operator', 'random', 're', 'string', 'time', 'types', 'typing'}
    | {'typing_extensions', 'warnings'}
)
HARMLESS_NAMES = re.compile(
    r'os\.(path|environ)(\..*)?|os\.(getenv|cpu_count)|sys\.(version_info|platform|maxsize)(\..*)?|'
    r'pathlib\.(Pure)?Path(\.(parents?|resolve|absolute|name|stem))*'
)
# Parts of a dotted name that lead to the system from whatever they belong to.
REFUSED_PARTS = frozenset(
    {'load', 'system', 'popen', 'Popen', 'load_url', 'load_inline', 'load_library', 'open_url', 'urlopen', 'CDLL'}
    | {'write_text', 'write_bytes', 'attrgetter', 'methodcaller', 'os', '_os', 'sys', '_sys', 'subprocess', 'posix'}
    | {'importlib', 'builtins', 'ctypes', 'shutil', '__builtins__', '__globals__', '__subclasses__', '__dict__'}
    | {'__code__', '__import__', '__getattribute__', '__loader__', '__spec__'}
)
TOO_DEEP = 'expressions that are nested too deeply to be looked at'

_Function = ast.FunctionDef | ast.AsyncFunctionDef
_Definition = _Function | ast.ClassDef


def refuse_planted(source: str, owner: str) -> None:
    """Refuses a source that uses the system while it is loaded.

    Args:
      source: of a module. One that Python cannot parse could not run anywhere, and passes.
      owner: the class that it comes with.

    Raises:
      ConversionError: naming what is used and its line.
    """
    found = _planted(source)
    if found is not None:
        name, line = found
        raise ConversionError(
            f'holds a source that uses {shown(name)} when it is loaded (class {owner}, line {line}), which no known '
            f'network does; it is refused, and nothing was run.'
        )


@lru_cache(maxsize=16)  # a pickle holds the same few sources with every module
def _planted(source: str) -> tuple[str, int] | None:
    """What is used of the system, and its line."""
    try:
        return _Loading(ast.parse(source)).refused()
    except (SyntaxError, ValueError):
        return None
    except (RecursionError, MemoryError):  # another version of Python may get through
        return TOO_DEEP, 1


class _Loading(ast.NodeVisitor):
    """Follows what is executed when a module is loaded: all but the bodies of functions, and of these the bodies of
    those that are named in what is executed, or whose class is. What is named need not be called there."""

    def __init__(self, tree: ast.Module):
        self._meanings = _imported(tree)
        self._definitions: dict[str, list[_Definition]] = defaultdict(list)
        for node in ast.walk(tree):
            if isinstance(node, _Definition):
                self._definitions[node.name].append(node)
        self._arguments: frozenset[str] = frozenset()  # of the functions around, whose names hide others
        self._waiting: list[tuple[Sequence[ast.AST], frozenset[str]]] = [([tree], frozenset())]
        self._followed: set[ast.AST] = set()
        self._refused: list[tuple[str, int]] = []

    def refused(self) -> tuple[str, int] | None:
        """The first name that leads to the system, and its line."""
        while self._waiting and not self._refused:
            nodes, self._arguments = self._waiting.pop(0)
            for node in nodes:
                self.visit(node)
        return self._refused[0] if self._refused else None

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._check(node)
            self._follow(node.id)

    def visit_Attribute(self, node: ast.Attribute) -> None:
        start: ast.expr = node
        while isinstance(start, ast.Attribute):
            start = start.value
        if isinstance(start, ast.Name):
            self._follow(start.id)
        else:
            self.visit(start)
        if isinstance(node.ctx, ast.Load):
            self._check(node)

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.names[0].name == '*' and not node.level:
            self._note(f'{node.module}.*', node.lineno)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._visit_defaults(node.args)
        around, self._arguments = self._arguments, self._arguments | _names(node.args)
        self.visit(node.body)
        self._arguments = around

    def visit_FunctionDef(self, node: _Function) -> None:
        self._visit_all([decorator for decorator in node.decorator_list if not _is_accessor(decorator)])
        self._visit_defaults(node.args)
        self._visit_annotations([argument.annotation for argument in _all_arguments(node.args)] + [node.returns])

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._visit_all([*node.decorator_list, *node.keywords])
        for base in node.bases:
            if isinstance(base, ast.Name):  # a base is told of the new class, and else not run
                self._check(base)
                self._follow(base.id, only='__init_subclass__')
            else:
                self.visit(base)
        self._visit_all(node.body)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._visit_annotations([node.annotation])
        self._visit_all([node.target, *([node.value] if node.value else [])])

    def _visit_all(self, nodes: Sequence[ast.AST]) -> None:
        for node in nodes:
            self.visit(node)

    def _visit_defaults(self, arguments: ast.arguments) -> None:
        self._visit_all([*arguments.defaults, *(default for default in arguments.kw_defaults if default is not None)])

    def _visit_annotations(self, annotations: Sequence[ast.expr | None]) -> None:
        """Annotations name types of any module, which does nothing; but they may call."""
        nodes = [node for annotation in annotations if annotation is not None for node in ast.walk(annotation)]
        self._visit_all([node for node in nodes if isinstance(node, ast.Call)])

    def _check(self, node: ast.expr) -> None:
        for name in self._dotted(node):
            self._note(name, node.lineno)

    def _note(self, name: str, line: int) -> None:
        if _is_refused(name):
            root = name.split('.')[0]
            self._refused.append((root if root in REFUSED_BUILTINS else name, line))

    def _dotted(self, node: ast.expr) -> list[str]:
        """What the dotted name of a node may stand for; of a call or a subscript, what is called or subscripted
        counts."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute | ast.Call | ast.Subscript):
            if isinstance(node, ast.Attribute):
                parts.insert(0, node.attr)
            node = node.func if isinstance(node, ast.Call) else node.value
        roots = {''}
        if isinstance(node, ast.Name) and node.id not in self._arguments:
            roots = self._meanings.get(node.id, {node.id})
        return ['.'.join([root, *parts]) for root in sorted(roots)]

    def _follow(self, name: str, only: str | None = None) -> None:
        """Lets the body of a function wait to be looked at; of a class the methods, or one of them, and the bases."""
        for definition in self._definitions.get(name, []):
            if isinstance(definition, ast.ClassDef):
                methods = [method for method in _methods(definition) if only in (None, method.name)]
                if only is None and definition not in self._followed:
                    self._followed.add(definition)
                    self._waiting.append((definition.bases, frozenset()))
            else:
                methods = [definition]
            new = [method for method in methods if method not in self._followed]
            self._followed.update(new)
            self._waiting += [(method.body, _names(method.args)) for method in new]


def _is_accessor(decorator: ast.expr) -> bool:
    """Whether it adds to a property, which names the property's function and does not run it."""
    return isinstance(decorator, ast.Attribute) and decorator.attr in ('getter', 'setter', 'deleter')


def _methods(definition: ast.ClassDef) -> Iterator[_Function]:
    waiting: list[ast.AST] = list(definition.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, _Function):
            yield node
        elif not isinstance(node, ast.ClassDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)


def _all_arguments(arguments: ast.arguments) -> list[ast.arg]:
    starred = [argument for argument in (arguments.vararg, arguments.kwarg) if argument is not None]
    return [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, *starred]


def _names(arguments: ast.arguments) -> frozenset[str]:
    return frozenset(argument.arg for argument in _all_arguments(arguments))


def _imported(tree: ast.AST) -> Mapping[str, set[str]]:
    """What the names that imports bind may stand for."""
    names: dict[str, set[str]] = defaultdict(set)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name.split('.')[0]
                names[alias.asname or root].add(alias.name if alias.asname else root)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                names[alias.asname or alias.name].add(f'{"." * node.level}{node.module or ""}.{alias.name}')
    return names


def _is_refused(name: str) -> bool:
    root, *parts = name.split('.')
    if root in REFUSED_BUILTINS or not REFUSED_PARTS.isdisjoint(parts):
        return True
    return root in STANDARD_MODULES and root not in HARMLESS_MODULES and not HARMLESS_NAMES.fullmatch(name)
