"""Lint rules about weighted ops and constants: the nodes that the compiler expects around a convolution.

A rule takes a LintGraph and yields (node name, message), as in `node_rules.py`.
"""
from typing import TYPE_CHECKING, Dict, Optional

from vai_q_tf.lint.lint_graph import Breaches, LintGraph, Rule, describe, op_of

if TYPE_CHECKING:
    import tensorflow.compat.v1 as tf

_CONVOLUTIONS = ('Conv2D', 'DepthwiseConv2dNative', 'Conv2DBackpropInput')
_WEIGHTED = _CONVOLUTIONS + ('Conv3D', 'MatMul')
_ADDITIONS = ('Add', 'AddV2')
_PARAMETER = 1  # input index of the weights of a convolution and of the bias of a BiasAdd


def _quantized_weights(graph: LintGraph) -> Breaches:
    """The weights of a convolution are a constant with a FixNeuron."""
    for node in graph.of_type(*_CONVOLUTIONS):
        yield from _unless_quantized_constant(graph, node, 'weights')


def _quantized_bias(graph: LintGraph) -> Breaches:
    """The bias of a BiasAdd is a constant with a FixNeuron."""
    for node in graph.of_type('BiasAdd'):
        yield from _unless_quantized_constant(graph, node, 'bias')


def _unless_quantized_constant(graph: LintGraph, node: 'tf.NodeDef', parameter: str) -> Breaches:
    source = graph.producer(node, _PARAMETER)
    if graph.is_quantized_constant(source):
        return
    if op_of(source) == 'FixNeuron':
        found = 'a FixNeuron of ' + describe(graph.producer(source, 0))
    else:
        found = describe(source)
    yield node.name, ('The compiler reads the {0} of a {1} from a Const right before a FixNeuron, but finds {2}. Quantize the '
                      '{0}, and remove the nodes between the Const, the FixNeuron and this node.'.format(
                          parameter, node.op, found))


def _bias_behind_weighted_op(graph: LintGraph) -> Breaches:
    """A BiasAdd follows a convolution or MatMul."""
    for node in graph.of_type('BiasAdd'):
        source = graph.producer(node, 0)
        before = graph.producer(source, 0) if op_of(source) == 'BatchToSpaceND' else source
        if op_of(source) != 'Mul' and op_of(before) not in _WEIGHTED:
            yield node.name, ('The compiler merges a BiasAdd into the convolution or MatMul right before it, but finds '
                              '{}. Remove the nodes between them, or make this node an Add.'.format(describe(source)))


def _batch_norm_as_mul_and_add(graph: LintGraph) -> Breaches:
    """A batch norm that is not folded is a Mul and an Add of quantized constants."""
    yield from _bias_adds_after_mul(graph)
    yield from _float_constants_of_batch_norms(graph)


def _bias_adds_after_mul(graph: LintGraph) -> Breaches:
    for node in graph.of_type('BiasAdd'):
        source = graph.producer(node, 0)
        if source is not None and source.op == 'Mul':
            yield node.name, ("The compiler refuses a BiasAdd after the Mul '{}'. Write a batch norm that is not "
                              'folded as Mul and Add.'.format(source.name))


def _float_constants_of_batch_norms(graph: LintGraph) -> Breaches:
    for node in graph.of_type(*_ADDITIONS):
        for scaled, offset in ((0, 1), (1, 0)):
            mul, shift = graph.producer(node, scaled), graph.producer(node, offset)
            scale = _batch_norm_scale(graph, mul)
            for owner, constant in ((mul, scale), (node, shift)):
                if scale is not None and graph.is_float_constant(shift) and constant is not None and constant.op == 'Const':
                    yield owner.name, ("The compiler reads a Mul and an Add of constants as a batch norm, but the constant "
                                       "'{}' is not quantized. Put a FixNeuron after it.".format(constant.name))


def _batch_norm_scale(graph: LintGraph, node: Optional['tf.NodeDef']) -> Optional['tf.NodeDef']:
    """The constant operand of a float Mul; None without, and for the Mul of an average pool, whose scale may stay float."""
    if op_of(node) != 'Mul':
        return None
    for data, scale in ((0, 1), (1, 0)):
        if graph.is_float_constant(graph.producer(node, scale)):
            pooled = op_of(graph.producer(node, data)) in ('AvgPool', 'Mean')
            return None if pooled else graph.producer(node, scale)
    return None


def _one_fix_neuron_per_constant(graph: LintGraph) -> Breaches:
    """A quantized constant has one reader, its FixNeuron."""
    for node in graph.of_type('Const'):
        consumers = graph.consumers[node.name]
        if len(consumers) > 1 and any(consumer.op == 'FixNeuron' for consumer in consumers):
            yield node.name, ('The compiler puts the position of a FixNeuron into the constant before it, so only that '
                              'FixNeuron may read it, but {} do too. Give each a copy of the constant.'.format(
                                  ' and '.join(describe(consumer) for consumer in consumers)))


def _one_bias_add_per_bias(graph: LintGraph) -> Breaches:
    """A quantized bias has one reader."""
    reported = set()
    for node in graph.of_type('BiasAdd'):
        bias = graph.producer(node, _PARAMETER)
        if bias is None or bias.op != 'FixNeuron' or bias.name in reported or len(graph.consumers[bias.name]) == 1:
            continue
        reported.add(bias.name)
        yield bias.name, ('The compiler merges a bias into one convolution, but {} read this one. Give each a copy of '
                          'the Const and its FixNeuron.'.format(
                              ' and '.join(describe(consumer) for consumer in graph.consumers[bias.name])))


def _one_weighted_op_per_weight(graph: LintGraph) -> Breaches:
    """Quantized weights have one reader."""
    for node in graph.of_type('FixNeuron'):
        readers = [reader for reader in graph.consumers[node.name] if reader.op in _WEIGHTED
                   and graph.producer(reader, _PARAMETER) is node]
        if len(readers) > 1 and graph.is_quantized_constant(node):
            yield node.name, ('The compiler uses the weights of a FixNeuron for one op, but {} read these. Give each a copy '
                              'of the Const and its FixNeuron.'.format(' and '.join(map(describe, readers))))


def _quantized_before_residual_add(graph: LintGraph) -> Breaches:
    """A convolution without a bias has a FixNeuron before a residual addition."""
    for node in graph.of_type(*_ADDITIONS):
        for data, other in ((0, 1), (1, 0)):
            source = graph.producer(node, data)
            if op_of(source) in _CONVOLUTIONS and not graph.is_float_constant(graph.producer(node, other)):
                yield node.name, ('The compiler treats an Add after a convolution without a bias as its bias, but {} '
                                  'is not added to a constant. Put a FixNeuron between them.'.format(describe(source)))


RULES: Dict[str, Rule] = {
    'quantized-weights': _quantized_weights,
    'quantized-bias': _quantized_bias,
    'bias-behind-weighted-op': _bias_behind_weighted_op,
    'batch-norm-as-mul-and-add': _batch_norm_as_mul_and_add,
    'one-fix-neuron-per-constant': _one_fix_neuron_per_constant,
    'one-bias-add-per-bias': _one_bias_add_per_bias,
    'one-weighted-op-per-weight': _one_weighted_op_per_weight,
    'quantized-before-residual-add': _quantized_before_residual_add,
}
