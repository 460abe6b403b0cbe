"""The errors that the code raises: code, summary and text of every QuantizeError."""
import ast
import re
from typing import Dict, Iterable, Iterator, List, NamedTuple, Optional, Set

from docs.generator.texts import PLACEHOLDER, UNKNOWN, Values, assigned, called, modules, returned, shortened, texts
from vai_q_tf import errors

_ERRORS = ('QuantizeError', '_Refusal')  # a _Refusal holds the parts of an error, the text last
_USAGE = (errors.INVALID_CONFIG, 'Invalid command line')  # of a UsageError, which takes the text only


class Raised(NamedTuple):
    """A message; parts of `text` that vary are an ellipsis."""
    code: str
    summary: str
    text: str


def raised() -> List[Raised]:
    """All messages, each once, in the order of codes, summaries and texts."""
    trees = list(modules())
    everywhere = _calls(trees)
    found: Set[Raised] = set()
    for tree in trees:
        found.update(_messages(tree, {}))
        here, functions = _calls([tree]), returned(tree)
        for function in (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)):
            private = function.name.startswith('_') or any(argument.arg == 'self' for argument in function.args.args)
            for values in _values(function, (here if private else everywhere).get(function.name, [])):
                found.update(_messages(function, {**functions, **values}))
    codes = list(errors.EXPLANATIONS)
    return sorted(_without_empty(found), key=lambda message: (codes.index(message.code), message))


def _calls(trees: Iterable[ast.AST]) -> Dict[str, List[ast.Call]]:
    """{name of a function: its calls}."""
    found: Dict[str, List[ast.Call]] = {}
    for tree in trees:
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                found.setdefault(called(node), []).append(node)
    return found


def _without_empty(found: Set[Raised]) -> Iterator[Raised]:
    """Without texts of nothing but unknown parts; one of them if a summary has no other."""
    known = {message[:2] for message in found if re.search(r'\w', message.text)}
    yield from (message for message in found if re.search(r'\w', message.text))
    yield from {Raised(code, summary, UNKNOWN) for code, summary, _ in found if (code, summary) not in known}


def _values(function: ast.FunctionDef, calls: List[ast.Call]) -> List[Values]:
    """The values of names in a function that makes an error: for each call of it, if an error depends on its parameters."""
    made = [argument for call in _made(function) for argument in call.args]
    if not made:
        return []
    local = assigned(function)
    names = {node.id for argument in made + [value for values in local.values() for value in values]
             for node in ast.walk(argument) if isinstance(node, ast.Name)}
    parameters = [argument.arg for argument in function.args.args if argument.arg != 'self']
    if not names.intersection(parameters):
        return [local]
    defaults = function.args.defaults
    bound: Values = {name: [value] for name, value in zip(parameters[len(parameters) - len(defaults):], defaults)}
    found: List[Values] = []
    for call in calls:
        given: Values = dict(zip(parameters, ([value] for value in call.args)))
        given.update({keyword.arg: [keyword.value] for keyword in call.keywords if keyword.arg})
        found.append({**bound, **given, **local})
    return found or [local]


def _made(tree: ast.AST) -> Iterator[ast.Call]:
    """The calls that make an error in a module or function, but not in the functions inside it."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Call) and called(node) in _ERRORS + ('UsageError',):
            yield node
        if not isinstance(node, ast.FunctionDef):
            yield from _made(node)


def _messages(tree: ast.AST, values: Values) -> Iterator[Raised]:
    for call in _made(tree):
        if called(call) == 'UsageError':
            yield from (Raised(*_USAGE, shortened(text)) for text in texts(call.args[0], values))
        elif len(call.args) > 2:
            for code in _codes(call.args[0], values):
                for summary in texts(call.args[1], values):
                    if summary != UNKNOWN:
                        yield from (Raised(code, summary, shortened(PLACEHOLDER.sub(UNKNOWN, text)))
                                    for text in texts(call.args[-1], values))


def _codes(node: Optional[ast.AST], values: Values) -> List[str]:
    if isinstance(node, ast.Attribute) and node.attr in vars(errors):
        return [getattr(errors, node.attr)]
    if isinstance(node, ast.IfExp):
        return _codes(node.body, values) + _codes(node.orelse, values)
    if isinstance(node, ast.Name) and node.id in values:
        others = {name: found for name, found in values.items() if name != node.id}
        return [code for value in values[node.id] for code in _codes(value, others)]
    return []
