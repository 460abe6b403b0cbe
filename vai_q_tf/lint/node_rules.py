"""Lint rules about single nodes: their attrs, shapes and inputs, and which ops the compiler can read at all.

A rule takes a LintGraph and yields (node name, message). `RULES` holds them by name, in the order in which they run.
"""
from typing import Dict

from vai_q_tf.dpu import COMPILER_OPS
from vai_q_tf.lint.lint_graph import (
    Breaches,
    LintGraph,
    Rule,
    declared_shape,
    describe,
    integer,
    op_of,
    output_shapes,
    tensor_of,
)

_FIX_NEURON_ATTRS = frozenset(('bit_width', 'method', 'mode', 'phase', 'output_dir', 'quantize_pos', 'T'))

# {op: (index, meaning) of each input that has to be a constant}
_CONSTANT_INPUTS = {
    'Mean': ((1, 'reduction axes'),),
    'Pad': ((1, 'paddings'),),
    'StridedSlice': ((1, 'begin'), (2, 'end'), (3, 'strides')),
    'Transpose': ((1, 'permutation'),),
    'ConcatV2': ((-1, 'axis'),),
}
_SPLIT_DATA_INPUT = {'Split': 1, 'Unpack': 0}


def _no_function_library(graph: LintGraph) -> Breaches:
    """The graph defines no functions."""
    if graph.library.function or graph.library.gradient:
        yield '', ('The compiler reads only nodes, so it does not find the functions that this graph defines ({}). Write '
                   'the graph without functions.'.format(
                       ', '.join(function.signature.name for function in graph.library.function) or 'gradients'))


def _plain_inputs(graph: LintGraph) -> Breaches:
    """Inputs are plain names of nodes: no control inputs, and no `:0`."""
    for node in graph.nodes:
        for name in node.input:
            if name.startswith('^'):
                yield node.name, ("The compiler treats the control input '{}' as the name of a node and does not find "
                                  'it. Remove control inputs from the frozen graph.'.format(name))
            elif name.endswith(':0'):
                yield node.name, ("The compiler treats the input '{0}' as the name of a node and does not find it. "
                                  "Write '{1}'.".format(name, name[:-2]))


def _fix_neuron_attrs(graph: LintGraph) -> Breaches:
    """A FixNeuron has exactly its attrs, and is in the evaluation phase."""
    for node in graph.of_type('FixNeuron'):
        unknown = [name for name in node.attr if name not in _FIX_NEURON_ATTRS and not name.startswith('_')]
        if unknown:
            yield node.name, ('vai_q_tensorflow cannot load a FixNeuron with the attrs {}. Remove them, or start their '
                              'names with an underscore.'.format(', '.join(sorted(unknown))))
        missing = [name for name in ('bit_width', 'quantize_pos') if integer(node, name) is None]
        if missing:
            yield node.name, ('The FixNeuron lacks {}, which the compiler reads. Write all attrs, defaults included.'.format(
                                  ' and '.join(missing)))
        odd = [name for name in ('mode', 'method') if integer(node, name) not in (None, 0, 1, 2)]
        if odd:
            yield node.name, ('The FixNeuron has an invalid {}. Use 0, 1 or 2.'.format(' and '.join(odd)))
        if integer(node, 'phase') != 1:
            yield node.name, ('The FixNeuron is not in phase 1 (evaluation), so its position is not final and the '
                              'compiler would use a stale one. Finish calibration or training, then set phase to 1.')


def _placeholder_shape(graph: LintGraph) -> Breaches:
    """An input declares every dimension except the batch, and does not have three dimensions."""
    for node in graph.of_type('Placeholder'):
        shapes = [declared_shape(node)] + output_shapes(node)[:1]
        known = [shape for shape in shapes if shape is not None and all(size > 0 for size in shape[1:])]
        if any(len(shape) == 3 for shape in known):
            yield node.name, ('The compiler refuses inputs of three dimensions, such as this placeholder with the shape '
                              '{}. Give the network an input of four dimensions, one of them 1, and reshape it.'.format(
                                  known[0]))
        elif not known:
            yield node.name, ('The compiler needs every dimension of an input except the batch, but this placeholder '
                              'declares {}. Set them, for example with input_shapes.'.format(
                                  next((shape for shape in shapes if shape is not None), 'no shape')))


def _no_batch_norm_op(graph: LintGraph) -> Breaches:
    """No batch norm op: it is folded, or a Mul and an Add."""
    for node in graph.nodes:
        if node.op.startswith('FusedBatchNorm'):
            yield node.name, ('The compiler refuses {}. Fold it into the convolution before it, or turn it into Mul '
                              'and Add with quantized constants.'.format(node.op))


def _shape_of_unknown_op(graph: LintGraph) -> Breaches:
    """An op that the compiler does not know has its shapes in _output_shapes."""
    for node in graph.nodes:
        if node.op in COMPILER_OPS or node.op.startswith('FusedBatchNorm'):
            continue
        shapes = output_shapes(node)
        if not shapes or None in shapes:
            yield node.name, ('The compiler does not know the op {} and needs the shape of its result in _output_shapes. '
                              'Write the graph with shapes, as add_shapes=1 does.'.format(node.op))


def _shape_before_split(graph: LintGraph) -> Breaches:
    """The input of a Split or Unpack has its shape in _output_shapes."""
    for node in graph.of_type(*_SPLIT_DATA_INPUT):
        source = graph.producer(node, _SPLIT_DATA_INPUT[node.op])
        shapes = output_shapes(source) if source is not None else []
        if not shapes or None in shapes:
            yield node.name, ('The compiler splits by the shape of the input, and needs that shape in _output_shapes of '
                              '{}. Write the graph with shapes, as add_shapes=1 does.'.format(
                                  describe(source)))


def _constant_parameters(graph: LintGraph) -> Breaches:
    """Axes, paddings, slices and permutations are constants."""
    for node in graph.of_type(*_CONSTANT_INPUTS):
        for index, meaning in _CONSTANT_INPUTS[node.op]:
            source = graph.producer(node, index)
            if op_of(source) != 'Const':
                yield node.name, ('The compiler reads the {} of a {} from a Const, but finds {}. Make it a constant.'.format(
                    meaning, node.op, describe(source)))


def _concat_axis(graph: LintGraph) -> Breaches:
    """The axis of a ConcatV2 is stored in int_val."""
    for node in graph.of_type('ConcatV2'):
        axis = graph.producer(node, -1)
        if axis is not None and axis.op == 'Const' and len(tensor_of(axis).int_val) != 1:
            yield node.name, ("The compiler reads the axis from the field int_val of the tensor in '{}', but it is not "
                              'there. Write the axis to int_val, not to tensor_content.'.format(axis.name))


RULES: Dict[str, Rule] = {
    'no-function-library': _no_function_library,
    'plain-inputs': _plain_inputs,
    'fix-neuron-attrs': _fix_neuron_attrs,
    'placeholder-shape': _placeholder_shape,
    'no-batch-norm-op': _no_batch_norm_op,
    'shape-of-unknown-op': _shape_of_unknown_op,
    'shape-before-split': _shape_before_split,
    'constant-parameters': _constant_parameters,
    'concat-axis': _concat_axis,
}
