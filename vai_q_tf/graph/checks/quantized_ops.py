"""Ops that quantize, ours and those of others: what they have rounded is not to be rounded once more."""
import re

from vai_q_tf import errors
from vai_q_tf.graph.dependence import called_functions, reach

_OWN = re.compile(r'(Vai)?(Scaled)?FixNeuron')
_OF_TRAINING = re.compile(r'FakeQuant|QuantizeAndDequantize')
_OF_FILES = re.compile(r'(_?Mkl|Xla|Uniform)?(Quantize|Dequantize|Requantiz)')
_START = 'They round once already, and would be rounded a second time; start from the float graph'
_HOW = (
    (_OWN, ', the file that was given to quantize'),
    (_OF_TRAINING, ': build the network without tf.contrib.quantize (create_training_graph, create_eval_graph) or '
     'fake_quant ops, and freeze it with the same checkpoint'),
    (_OF_FILES, ', the file before quantize_weights, quantize_nodes, or another tool that writes 8 bits'))


def quantizing_nodes(view, names):
    """{op type: [node]} of those of the nodes `names` of a GraphView that quantize, or call a function that does."""
    found, kinds = {}, {}
    functions = {function.signature.name: function for function in view.library.function}
    for name in names:
        op = view.op(name)
        if functions:
            called = reach(called_functions(view.node(name), functions), lambda called: [
                other for node in functions[called].node_def for other in called_functions(node, functions)])
            inside = sorted({node.op for called_name in called for node in functions[called_name].node_def
                             if _how(node.op, kinds)})
            for op_inside in inside:
                found.setdefault(op_inside, []).append(name)
        if _how(op, kinds):
            found.setdefault(op, []).append(name)
    return found


def require_unquantized(view, names):
    """Raises a QuantizeError ALREADY_QUANTIZED that names and counts the ops among the nodes `names` that quantize."""
    found = quantizing_nodes(view, names)
    if found:
        raise errors.QuantizeError(errors.ALREADY_QUANTIZED, 'Already quantized', quantized_text(found))


def quantized_text(found):
    """What is to be said of {op type: [node]} of nodes that quantize, and what to do."""
    shown = sorted(found.items(), key=lambda item: -len(item[1]))
    listed = ', '.join('{} {} ({!r}{})'.format(len(nodes), op, nodes[0], ', ...' if len(nodes) > 1 else '')
                       for op, nodes in shown[:4])
    if len(shown) > 4:
        listed += ' and {} of other types'.format(sum(len(nodes) for _, nodes in shown[4:]))
    return 'The graph is quantized already: it has {}. {}{}.'.format(listed, _START, _how(shown[0][0], {}))


def _how(op, known):
    """Where the float graph is found for an op that quantizes; '' for another op."""
    if op not in known:
        known[op] = next((how for pattern, how in _HOW if pattern.match(op)), '')
    return known[op]
