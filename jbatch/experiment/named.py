"""The names of a file's variants, as far as its text says them: nothing of the file is run."""

import ast
from collections.abc import Mapping, Sequence


def variants_of(code: str) -> list[str]:
    """Return the variants that an experiment file's text names outright.

    These are the keys of `variants = {"name": …}`, or of `{name: … for name, … in X.items()}` if X
    is such a dict. Names that the file computes are left out.
    """
    try:
        body = ast.parse(code).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    assigned = {
        target.id: statement.value
        for statement in body
        if isinstance(statement, ast.Assign)
        for target in statement.targets
        if isinstance(target, ast.Name)
    }
    return [name for name in _keys(ast.Name("variants"), assigned) if name.isprintable()]


def _keys(node: ast.expr | None, assigned: Mapping[str, ast.expr | None]) -> list[str]:
    """Return the texts that are an expression's keys, or the first parts of its rows."""
    match node:
        case ast.Name(id=name):
            return _keys(assigned.get(name), {**assigned, name: None})
        case ast.Dict(keys=keys):
            return _texts(keys)
        case ast.Tuple(elts=rows) | ast.List(elts=rows):
            return _texts([_first(row) for row in rows])
        case ast.Call(func=ast.Attribute(value=of, attr="items")):
            return _keys(of, assigned)
        case ast.DictComp(key=ast.Name(id=key), generators=[ast.comprehension(target, of, [])]):
            first = _first(target)
            return _keys(of, assigned) if isinstance(first, ast.Name) and first.id == key else []
    return []


def _first(node: ast.expr) -> ast.expr:
    """Return the first part of a tuple, or what is no tuple."""
    return node.elts[0] if isinstance(node, ast.Tuple) and node.elts else node


def _texts(nodes: Sequence[ast.expr | None]) -> list[str]:
    values = [node.value for node in nodes if isinstance(node, ast.Constant)]
    return [value for value in values if isinstance(value, str)]
