"""The page on the rules of `lint`, from their docstrings and their messages."""
import ast
import inspect
from typing import Any, Dict, Iterator, List

from docs.generator.markdown import page_from, table
from docs.generator.texts import Values, called, returned, shortened, texts
from vai_q_tf.lint import form_rules, node_rules, number_rules, position_rules, weight_rules

_SECTIONS = (('Nodes', node_rules), ('Forms', form_rules), ('Weights and biases', weight_rules),
             ('Positions and shifts', position_rules), ('Numbers that differ', number_rules))


def pages() -> Dict[str, str]:
    """{path in docs/reference: page}."""
    parts: List[str] = []
    for title, module in _SECTIONS:
        parts += ['## ' + title, table(('rule', 'requirement', 'message'), _rows(module))]
    return {'lint.md': page_from('lint_page.py', 'lint', {'rules': '\n\n'.join(parts)})}


def _rows(module: Any) -> Iterator[List[str]]:
    tree = ast.parse(inspect.getsource(module))
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    for name, rule in module.RULES.items():
        messages = dict.fromkeys(_messages(functions[rule.__name__], functions, returned(tree)))
        yield ['`{}`'.format(name), inspect.getdoc(rule) or '', '<br>'.join('`{}`'.format(text) for text in messages)]


def _messages(function: ast.FunctionDef, functions: Dict[str, ast.FunctionDef], values: Values) -> Iterator[str]:
    """The messages that a rule yields, itself or through functions of its module."""
    for node in ast.walk(function):
        if isinstance(node, ast.Yield) and isinstance(node.value, ast.Tuple):
            yield from map(shortened, texts(node.value.elts[1], values))
        elif isinstance(node, ast.YieldFrom) and called(node.value) in functions:
            yield from _messages(functions[called(node.value)], functions, values)
