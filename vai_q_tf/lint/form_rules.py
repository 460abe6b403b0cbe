"""Lint rules about the form of an op: graphs with the same results in TensorFlow, of which the compiler reads only one.

A rule takes a LintGraph and yields (node name, message), as in `node_rules.py`.
"""
from typing import Dict, List, Optional, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf.graph.view import dims
from vai_q_tf.lint.lint_graph import (
    Breaches,
    LintGraph,
    Rule,
    data_inputs,
    declared_shape,
    describe,
    integer,
    op_of,
    output_shapes,
    tensor_of,
    text,
    value_of,
)

_SUMS = ('Add', 'AddV2', 'Sub')
_FLOATS = frozenset(dtype.as_datatype_enum for dtype in (tf.float16, tf.float32, tf.float64, tf.bfloat16))
_VALUE_FIELDS = ('half_val', 'float_val', 'double_val', 'int_val', 'int64_val', 'uint32_val', 'uint64_val', 'bool_val')


def _constant_storage(graph: LintGraph) -> Breaches:
    """A constant of several different values stores them in tensor_content."""
    for node in graph.of_type('Const'):
        tensor = tensor_of(node)
        if tensor.tensor_content:
            continue
        for field in _VALUE_FIELDS:
            values = getattr(tensor, field)
            if any(value != values[0] for value in values):
                yield node.name, ('The compiler fills the whole constant with the first value of its field {}, which has '
                                  'several. Write the values to tensor_content, as tf.make_tensor_proto does with an '
                                  'array.'.format(field))


def _no_split(graph: LintGraph) -> Breaches:
    """No Split with several results; no SplitV or Unpack of an unknown batch."""
    for node in graph.of_type('Split'):
        if integer(node, 'num_split') != 1:
            yield node.name, ('The compiler treats every result of a Split as the last one. Write a StridedSlice for each '
                              'part.')
    for node in graph.of_type('SplitV', 'Unpack'):
        shape = graph.input_shape(node, 0)
        if shape and shape[0] < 0:
            yield node.name, ('The compiler refuses a {} if the batch is unknown. Write a StridedSlice for each '
                              'part.'.format(node.op))


def _channels_last(graph: LintGraph) -> Breaches:
    """The last dimension has the channels: NHWC, NDHWC."""
    for node in graph.nodes:
        layout = text(node, 'data_format')
        if layout.startswith('NC'):
            yield node.name, ('The compiler ignores data_format and treats the last dimension as the channels, but here it '
                              'is {}. Build the network with {}.'.format(
                                  layout, {'NCHW': 'NHWC', 'NCDHW': 'NDHWC'}.get(layout, 'the channels last')))


def _bias_after_batch_to_space(graph: LintGraph) -> Breaches:
    """A BiasAdd follows each BatchToSpaceND."""
    for node in graph.of_type('BatchToSpaceND'):
        readers = graph.consumers[node.name]
        if not any(reader.op == 'BiasAdd' and graph.producer(reader, 0) is node for reader in readers):
            yield node.name, ('The compiler expects a BiasAdd right after a BatchToSpaceND, but finds {}. Add the bias of the '
                              'dilated convolution there, or zeros.'.format(
                                  ' and '.join(map(describe, readers)) or 'nothing'))


def _rank_of_operand(graph: LintGraph) -> Breaches:
    """A constant operand of an addition or multiplication does not have three dimensions."""
    for node in graph.of_type('Add', 'AddV2', 'Mul'):
        for index in (0, 1):
            source = graph.producer(node, index)
            constant = graph.constant(source) if graph.is_float_constant(source) else None
            shape = dims(tensor_of(constant).tensor_shape) if constant is not None else None
            if constant is not None and shape and len(shape) == 3:
                yield node.name, ("The compiler refuses constants of three dimensions as operands of {}, such as '{}' with the "
                                  'shape {}. Give it one dimension, or four with 1 as the first one.'.format(
                                      node.op, constant.name, shape))


def _leaky_relu_of_parts(graph: LintGraph) -> Breaches:
    """A leaky relu built of relu(x) and a * relu(-x) has a scope in the names of its ops."""
    for node in graph.of_type(*_SUMS):
        for positive, rest in ((0, 1), (1, 0))[:1 if node.op == 'Sub' else 2]:
            parts = _leaky_relu_parts(graph, graph.computed(node, positive), graph.computed(node, rest))
            if parts and not all('/' in part.name for part in (node, *parts)):
                yield node.name, ('The compiler does not recognize a leaky relu in relu(x) and a * relu(-x) if these ops have '
                                  'no scope in their names. Write a LeakyRelu.')


def _leaky_relu_parts(graph: LintGraph, relu: Optional[tf.NodeDef], scaled: Optional[tf.NodeDef]) -> Tuple[tf.NodeDef, ...]:
    """The nodes of relu(x) and a * relu(-x), () if the nodes `relu` and `scaled` are something else."""
    if op_of(relu) != 'Relu' or op_of(scaled) != 'Mul':
        return ()
    clipped = next((source for source in (graph.computed(scaled, 0), graph.computed(scaled, 1))
                    if op_of(source) == 'Relu'), None)
    negated = graph.computed(clipped, 0) if clipped is not None else None
    if op_of(negated) != 'Neg' or data_inputs(negated)[:1] != data_inputs(relu)[:1]:
        return ()
    return relu, scaled, clipped, negated


def _no_explicit_padding(graph: LintGraph) -> Breaches:
    """The padding is SAME or VALID."""
    for node in graph.nodes:
        if text(node, 'padding') == 'EXPLICIT':
            cure = 'StridedSlice after it that cuts the borders' if node.op == 'Conv2DBackpropInput' else 'Pad before it'
            yield node.name, ('The compiler knows only the paddings SAME and VALID, and this is EXPLICIT. Use VALID, and a '
                              '{}.'.format(cure))


def _no_ellipsis(graph: LintGraph) -> Breaches:
    """A StridedSlice names every dimension."""
    for node in graph.of_type('StridedSlice'):
        if integer(node, 'ellipsis_mask'):
            yield node.name, ('The compiler refuses a StridedSlice with an ellipsis, as in x[..., a:b]. Write out the other '
                              'dimensions, as in x[:, :, :, a:b].')


def _no_mean_of_rows(graph: LintGraph) -> Breaches:
    """No Mean over the last axis of a matrix."""
    for node in graph.of_type('Mean'):
        shape, axes = graph.input_shape(node, 0), value_of(graph.producer(node, 1))
        if shape is not None and len(shape) == 2 and axes is not None and {1, -1}.intersection(axes):
            yield node.name, ('The compiler refuses a Mean over the last axis of a matrix. Write a MatMul with a column of '
                              '1 / {}.'.format(shape[1] if shape[1] > 0 else 'the number of columns'))


def _dense_on_rank_4(graph: LintGraph) -> Breaches:
    """A dense layer has at most three dimensions."""
    for node in graph.of_type('MatMul'):
        if _is_dense_on_maps(graph, node):
            yield node.name, ('The compiler refuses a dense layer on the last of four dimensions or more. Write a convolution '
                              'of size 1.')


def _is_dense_on_maps(graph: LintGraph, node: tf.NodeDef) -> bool:
    """Whether a MatMul computes a dense layer on the last of four dimensions or more, between two Reshapes."""
    before, after, weights = graph.computed(node, 0), _reshape_after(graph, node), graph.constant(graph.producer(node, 1))
    if op_of(before) != 'Reshape' or after is None or weights is None:
        return False
    maps, result, width = graph.input_shape(before, 0), _first_shape(after), dims(tensor_of(weights).tensor_shape)
    return bool(maps and len(maps) > 3 and result and len(result) > 3 and width
                and maps[-1] == width[-1 if 'transpose_b' in node.attr and node.attr['transpose_b'].b else 0])


def _reshape_after(graph: LintGraph, node: tf.NodeDef) -> Optional[tf.NodeDef]:
    """The Reshape that reads a node; between them are at most its bias and FixNeuron. None without."""
    for _ in range(3):
        readers = graph.consumers[node.name]
        found = next((reader for reader in readers if reader.op == 'Reshape'), None)
        if found is not None or len(readers) != 1 or readers[0].op not in ('BiasAdd', 'Add', 'AddV2', 'FixNeuron'):
            return found
        node = readers[0]
    return None


def _first_shape(node: tf.NodeDef) -> Optional[List[int]]:
    return next(iter(output_shapes(node)), None)


def _no_pack_of_floats(graph: LintGraph) -> Breaches:
    """No Pack of floats, as from tf.stack."""
    for node in graph.of_type('Pack'):
        kind = node.attr['T'].type if 'T' in node.attr else 0
        if kind in _FLOATS or any(graph.is_float_constant(graph.producer(node, index))
                                  or op_of(graph.producer(node, index)) == 'FixNeuron'
                                  for index in range(len(data_inputs(node)))):
            yield node.name, ('The compiler refuses a Pack of floats, as from tf.stack. Write an ExpandDims for each part, and '
                              'a ConcatV2.')


def _no_identity_n(graph: LintGraph) -> Breaches:
    """No IdentityN."""
    for node in graph.of_type('IdentityN'):
        yield node.name, 'The compiler refuses an IdentityN. Connect its readers to its inputs.'


def _batch_in_reshape(graph: LintGraph) -> Breaches:
    """The shape of a Reshape does not contain the batch size."""
    open_batch = any((shape or [-1])[0] < 0 for shape in map(_placeholder_shape, graph.of_type('Placeholder')))
    for node in graph.of_type('Reshape'):
        target, source = value_of(graph.producer(node, 1)), graph.input_shape(node, 0)
        if not target or not isinstance(target[0], int) or target[0] <= 1 or not graph.is_computed(graph.producer(node, 0)):
            continue
        if source[:1] == [-1] if source is not None else open_batch:
            yield node.name, ('The compiler compiles for one image, but the shape {} of this Reshape contains the batch {}. '
                              'Write -1 in its place{}.'.format(target, target[0], (
                                  ', and a number in place of the -1 that is there') * (-1 in target)))


def _placeholder_shape(node: tf.NodeDef) -> Optional[List[int]]:
    return declared_shape(node) if 'shape' in node.attr else _first_shape(node)


def _softmax_constants(graph: LintGraph) -> Breaches:
    """A Cast follows each constant of the hardware's softmax."""
    for node in graph.of_type('Const'):
        if not _is_bfloat(node) or '/exp_poly/poly_approx/alpha_' not in node.name and not node.name.endswith('/add/ones'):
            continue
        readers = [reader for reader in graph.consumers[node.name] if reader.op != 'Cast']
        if readers:
            yield node.name, ("The compiler finds the hardware's softmax by the Casts after its constants, but {} reads this "
                              'one directly. Put a Cast between them.'.format(describe(readers[0])))


def _is_bfloat(node: tf.NodeDef) -> bool:
    return tensor_of(node).dtype == tf.bfloat16.as_datatype_enum


RULES: Dict[str, Rule] = {
    'constant-storage': _constant_storage,
    'no-split': _no_split,
    'channels-last': _channels_last,
    'bias-after-batch-to-space': _bias_after_batch_to_space,
    'rank-of-operand': _rank_of_operand,
    'leaky-relu-of-parts': _leaky_relu_of_parts,
    'no-explicit-padding': _no_explicit_padding,
    'no-ellipsis': _no_ellipsis,
    'no-mean-of-rows': _no_mean_of_rows,
    'dense-on-rank-4': _dense_on_rank_4,
    'no-pack-of-floats': _no_pack_of_floats,
    'no-identity-n': _no_identity_n,
    'batch-in-reshape': _batch_in_reshape,
    'softmax-constants': _softmax_constants,
}
