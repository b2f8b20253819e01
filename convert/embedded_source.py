"""The Python source inside an EG3D pickle, looked at without running it.

EG3D's own loader executes that source, so whoever gets a pickle from somebody runs somebody's program. Nothing here
does; but `convert.export` hands the same source back to that loader, and a source that would reach for the system as
soon as it is loaded was planted. It is parsed, never compiled.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache

from convert.errors import ConversionError

# What no network needs while its module is loaded.
REFUSED_BUILTINS = frozenset(
    {'eval', 'exec', 'compile', '__import__', 'open', 'input', 'breakpoint', 'getattr', 'globals', 'vars', 'setattr'}
)
# The standard library's modules may be imported, but not called while loading, except for these.
HARMLESS_MODULES = frozenset(
    {'abc', 'collections', 'contextlib', 'copy', 'dataclasses', 'enum', 'functools', 'itertools', 'logging', 'math'}
    | {'numbers', 'operator', 'random', 're', 'string', 'time', 'types', 'typing', 'typing_extensions', 'warnings'}
)
HARMLESS_CALLS = ('os.path.', 'os.environ.get', 'os.getenv', 'os.cpu_count', 'pathlib.Path')
# Calls of other libraries that fetch or run something.
REFUSED_ENDINGS = frozenset({'load', 'system', 'popen', 'load_url', 'load_inline', 'open_url', 'urlopen'})

_Function = ast.FunctionDef | ast.AsyncFunctionDef


def refuse_planted(source: str, owner: str) -> None:
    """Refuses a source that calls into the system while it is loaded.

    Args:
      source: of a module. One that Python cannot parse could not run anywhere, and passes.
      owner: the class that it comes with.

    Raises:
      ConversionError: naming the call and its line.
    """
    found = _planted(source)
    if found is not None:
        name, line = found
        raise ConversionError(
            f'holds a source that calls {name!r} when it is loaded (class {owner}, line {line}), which no known '
            f'network does; it is refused, and nothing was run.'
        )


@lru_cache(maxsize=16)  # a pickle holds the same few sources with every module
def _planted(source: str) -> tuple[str, int] | None:
    """The first call into the system, and its line."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    names = _imported(tree)
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, _Function)}
    followed: set[str] = set()
    waiting: list[ast.AST] = [tree]
    while waiting:
        for function in _calls(waiting.pop()):
            name = _dotted(function, names)
            if _is_refused(name):
                root = name.split('.')[0]
                return (root if root in REFUSED_BUILTINS else name), function.lineno
            if name in functions and name not in followed:  # what is defined here and called while loading
                followed.add(name)
                waiting += functions[name].body
    return None


def _imported(tree: ast.AST) -> Mapping[str, str]:
    """What the names that imports bind stand for."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                root = alias.name.split('.')[0]
                names[alias.asname or root] = alias.name if alias.asname else root
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                names[alias.asname or alias.name] = f'{node.module or ""}.{alias.name}'
    return names


def _calls(node: ast.AST) -> Iterator[ast.expr]:
    """What is called when the node is executed, decorators included: nothing in the bodies of functions is."""
    if isinstance(node, ast.Call):
        yield node.func
    if isinstance(node, _Function | ast.ClassDef):
        yield from (decorator for decorator in node.decorator_list if not isinstance(decorator, ast.Call))
    children: list[ast.AST] = list(ast.iter_child_nodes(node))
    if isinstance(node, _Function):
        children = [*node.decorator_list, *node.args.defaults, *(d for d in node.args.kw_defaults if d is not None)]
    elif isinstance(node, ast.Lambda):
        children = []
    for child in children:
        yield from _calls(child)


def _dotted(node: ast.AST, names: Mapping[str, str]) -> str:
    """The dotted name of what is called, as far as it is one; of a call of a call, the inner one's."""
    endings: list[str] = []
    while True:
        if isinstance(node, ast.Attribute):
            endings.append(node.attr)
            node = node.value
        elif isinstance(node, ast.Call):
            node = node.func
        elif isinstance(node, ast.Subscript):
            node = node.value
        else:
            break
    root = names.get(node.id, node.id) if isinstance(node, ast.Name) else ''
    return '.'.join([root, *reversed(endings)])


def _is_refused(name: str) -> bool:
    root, _, rest = name.partition('.')
    if root == 'builtins' or root in REFUSED_BUILTINS:
        return True
    if name.startswith(HARMLESS_CALLS[0]) or name in HARMLESS_CALLS:
        return False
    standard = root in sys.stdlib_module_names and root not in HARMLESS_MODULES
    return standard or (bool(rest) and rest.split('.')[-1] in REFUSED_ENDINGS)
