"""Ops that quantize, of this project and of others. Their results must not be quantized again."""
import functools
import re
from typing import Dict, Iterable, List, Mapping, Sequence

import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.graph.dependence import called_functions, reach
from vai_q_tf.graph.view import GraphView

_OWN = re.compile(r'(Vai)?(Scaled)?FixNeuron')
_OF_TRAINING = re.compile(r'FakeQuant|QuantizeAndDequantize')
_OF_FILES = re.compile(r'(_?Mkl|Xla|Uniform)?(Quantize|Dequantize|Requantiz)')
_START = 'They would be quantized a second time; start from the float graph'
_HOW = (
    (_OWN, ', the file that was given to quantize'),
    (_OF_TRAINING, ': build the network without tf.contrib.quantize (create_training_graph, create_eval_graph) or '
     'fake_quant ops, and freeze it with the same checkpoint'),
    (_OF_FILES, ', the file before quantize_weights, quantize_nodes, or another tool that writes 8 bits'))


def quantizing_nodes(view: GraphView, names: Iterable[str]) -> Dict[str, List[str]]:
    """{op type: nodes} of those of the nodes `names` that quantize, or call a function that does."""
    functions = {function.signature.name: function.node_def for function in view.library.function}
    found: Dict[str, List[str]] = {}
    for name in names:
        inside = _ops_in_functions(view.node(name), functions) if functions else []
        for op in inside + [view.op(name)]:
            if _how(op):
                found.setdefault(op, []).append(name)
    return found


def _ops_in_functions(node: tf.NodeDef, functions: Mapping[str, Sequence[tf.NodeDef]]) -> List[str]:
    """The op types in the functions that a NodeDef calls, directly or through others, sorted.

    functions: {name: nodes}
    """
    called = reach(called_functions(node, functions), lambda name: [
        other for inner in functions[name] for other in called_functions(inner, functions)])
    return sorted({inner.op for name in called for inner in functions[name]})


def require_unquantized(view: GraphView, names: Iterable[str]) -> None:
    """Raises a QuantizeError ALREADY_QUANTIZED that lists and counts the quantizing ops among the nodes `names`."""
    found = quantizing_nodes(view, names)
    if found:
        raise errors.QuantizeError(errors.ALREADY_QUANTIZED, 'Already quantized', quantized_text(found))


def quantized_text(found: Mapping[str, List[str]]) -> str:
    """The message on quantizing nodes {op type: nodes}: how many of which op, and where to find the float graph."""
    shown = sorted(found.items(), key=lambda item: -len(item[1]))
    listed = ', '.join('{} {} ({!r}{})'.format(len(nodes), op, nodes[0], ', ...' if len(nodes) > 1 else '')
                       for op, nodes in shown[:4])
    if len(shown) > 4:
        listed += ' and {} of other types'.format(sum(len(nodes) for _, nodes in shown[4:]))
    return 'The graph is quantized already: it has {}. {}{}.'.format(listed, _START, _how(shown[0][0]))


@functools.lru_cache(maxsize=None)
def _how(op: str) -> str:
    """How to get the float graph of a network with a quantizing op; '' for other ops."""
    return next((how for pattern, how in _HOW if pattern.match(op)), '')
