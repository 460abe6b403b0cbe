"""Texts of messages in the source: string expressions, with an ellipsis for every part that is known only at run time."""
import ast
import os
import re
from typing import Dict, Iterator, List, Optional, Tuple

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
PACKAGE = 'vai_q_tf'
UNKNOWN = '…'
# {name: the expressions that it may have}; for a function of the module, 'name()': those that it returns
Values = Dict[str, List[ast.AST]]
PLACEHOLDER = re.compile(r'\{[^{}]*\}')


def modules() -> Iterator[ast.Module]:
    """The syntax trees of all modules of the package."""
    for folder, _, names in sorted(os.walk(os.path.join(ROOT, PACKAGE))):
        for name in sorted(names):
            if name.endswith('.py'):
                with open(os.path.join(folder, name), encoding='utf-8') as stream:
                    yield ast.parse(stream.read())


def texts(node: Optional[ast.AST], values: Values) -> List[str]:
    """The texts that an expression may have."""
    if isinstance(node, ast.Str):
        return [node.s]
    if isinstance(node, ast.Name) and node.id in values:
        others = {name: found for name, found in values.items() if name != node.id}
        return [text for value in values[node.id] for text in texts(value, others)]
    if called(node) == 'format' and isinstance(node.func, ast.Attribute):  # type: ignore  # `called` says that it is a Call
        return [PLACEHOLDER.sub(UNKNOWN, text) for text in texts(node.func.value, values)]  # type: ignore
    if called(node) + '()' in values:
        others = {name: found for name, found in values.items() if name.endswith('()') and name != called(node) + '()'}
        return [text for value in values[called(node) + '()'] for text in texts(value, others)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [left + right for left in texts(node.left, values) for right in texts(node.right, values)]
    if isinstance(node, ast.IfExp):
        return texts(node.body, values) + texts(node.orelse, values)
    return [UNKNOWN]


def shortened(text: str) -> str:
    """A text in one line, with one ellipsis for several in a row."""
    return re.sub(r'{0}(?: ?{0})+'.format(UNKNOWN), UNKNOWN, ' '.join(text.split()))


def called(node: Optional[ast.AST]) -> str:
    """The name of the function that a call names, without its module; '' for another node."""
    if not isinstance(node, ast.Call):
        return ''
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, 'id', '')


def returned(tree: ast.AST) -> Values:
    """{'name()': the expressions that a function of a module returns}."""
    return {node.name + '()': [part.value for part in ast.walk(node) if isinstance(part, ast.Return) and part.value]
            for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def assigned(function: ast.FunctionDef) -> Values:
    """{local variable of a function: the expressions that it gets}, also from tuples."""
    found: Values = {}
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            for target, value in _pairs(node.targets[0], node.value):
                if isinstance(target, ast.Name):
                    found.setdefault(target.id, []).append(value)
    return found


def _pairs(target: ast.AST, value: ast.AST) -> Iterator[Tuple[ast.AST, ast.AST]]:
    if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
        yield from zip(target.elts, value.elts)
    elif isinstance(target, ast.Tuple) and isinstance(value, ast.IfExp):
        yield from _pairs(target, value.body)
        yield from _pairs(target, value.orelse)
    elif not isinstance(target, ast.Tuple):
        yield target, value
