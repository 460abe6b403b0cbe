"""Runs a deployed model as the DPU does: on integers, with shifts and one rounding a tensor.

The result of an op is exact until its FixNeuron, which shifts, rounds half up and saturates it, once. TensorFlow's own ops move
values, and compute ops that stay float.
"""
import math
from typing import NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf

from tests import quick_tensorflow
from tests.same_network.dpu_ops import OPS, UNKNOWN, Fixed, Refused, Unlike, Unrounded, require

_MOVES = frozenset((
    'BatchToSpaceND', 'DepthToSpace', 'ExpandDims', 'Identity', 'MirrorPad', 'Pad', 'Reshape', 'ResizeNearestNeighbor',
    'SpaceToBatchND', 'Split', 'SplitV', 'Squeeze', 'StridedSlice', 'Transpose', 'Unpack'))
_FLOAT_OPS = frozenset((
    'Abs', 'Cast', 'Elu', 'LRN', 'Maximum', 'Minimum', 'Sigmoid', 'Softmax', 'Softplus', 'Square', 'Sub', 'Tanh'))


class Float(NamedTuple):
    """A tensor that is not quantized."""
    value: np.ndarray

    def real(self):
        return self.value


def differences(model, feed, but_for_unlike=False):
    """The FixNeurons whose values differ between TensorFlow and the DPU, in lines. An op that the DPU does not compute is one
    line.

    feed: {placeholder name: array}. but_for_unlike: whether known differences, and results of the DPU that are unknown, count
    as equal. Their shifts and positions have to be legal all the same.
    """
    results = _by_tensorflow_all(model, feed) if but_for_unlike else None
    try:
        expected = run(model, feed, results)
    except Refused as refused:
        return [str(refused)]
    pairs = [(name, expected[name].real(), result)
             for name, result in (results or _by_tensorflow_all(model, feed)).items()]
    return ['{}: {} of {} values differ'.format(name, np.sum(result != real), real.size)
            for name, real, result in pairs if not np.array_equal(result, real)]


def _by_tensorflow_all(model, feed):
    """{FixNeuron: array} in graph order."""
    names = [node.name for node in model.node if node.op == 'FixNeuron']
    with tf.Graph().as_default():
        tf.import_graph_def(_copy(model), name='')
        with _session() as session:
            results = session.run([name + ':0' for name in names], {name + ':0': value for name, value in feed.items()})
    return dict(zip(names, results))


def run(model, feed, known=None):
    """{node name: its first output} of a GraphDef, each a Fixed, an Unrounded or a Float, or an array for a Const or a computed
    shape.

    feed: {placeholder name: array}. known: {FixNeuron: array} of TensorFlow, to use where results are known to differ or are
    unknown. Raises Refused for an op that the DPU does not compute.
    """
    values = {}
    for node in _copy(model).node:  # reading an attr that a node lacks creates it
        operands = [_output(values, name) for name in node.input]
        try:
            value = Float(feed[node.name]) if node.op == 'Placeholder' else _compute(node, operands, known)
        except Refused as refused:
            raise Refused('{} ({}): {}'.format(node.name, node.op, refused)) from None
        values[node.name] = value if isinstance(value, list) else [value]
    return {name: outputs[0] for name, outputs in values.items()}


def _copy(graph_def):
    return tf.GraphDef.FromString(graph_def.SerializeToString())


def _output(values, name):
    name, _, number = name.partition(':')
    return values[name][int(number or 0)]


def _compute(node, operands, known):
    quantized = any(isinstance(operand, (Fixed, Unrounded)) for operand in operands)
    if node.op == 'Const':
        return tf.make_ndarray(node.attr['value'].tensor)
    if node.op == 'FixNeuron':
        return _fix_neuron(node, *operands, None if known is None else known[node.name])
    if node.op == 'Shape':
        return np.array(operands[0].real().shape, np.int32)
    if any(isinstance(operand, Float) for operand in operands) or (quantized and node.op in _FLOAT_OPS):
        return _each(by_tensorflow(node, [_as_floats(operand) for operand in operands]), Float)
    if not quantized:
        return by_tensorflow(node, operands)
    if node.op in _MOVES:
        return _moved(node, operands)
    if node.op in UNKNOWN and known is not None:
        return _unknown(node, operands)
    require(node.op in OPS, 'no arithmetic is known for it')
    return OPS[node.op](node, *operands)


def _unknown(node, operands):
    """TensorFlow's result for one that is unknown."""
    x = operands[0]
    real = by_tensorflow(node, [_as_floats(operand) for operand in operands]).astype(np.float64)
    return Unrounded(np.floor(real * 2.**(x.p + 16) + 0.5).astype(np.int64), x.p + 16, like_to=-math.inf)


def _as_floats(operand):
    if isinstance(operand, (np.ndarray, np.generic)):
        return operand
    real = operand.real()
    if isinstance(operand, Float):
        return real
    require(np.array_equal(real.astype(np.float32), real), 'an op that stays float reads what float32 does not hold')
    return real.astype(np.float32)


def _each(outputs, function):
    return [function(output) for output in outputs] if isinstance(outputs, list) else function(outputs)


def _moved(node, operands):
    """Copies of the integers, at the same position."""
    data, = (operand for operand in operands if isinstance(operand, (Fixed, Unrounded)))
    node.attr['T'].type = tf.int64.as_datatype_enum
    outputs = by_tensorflow(node, [operand.q if operand is data else operand for operand in operands])
    return _each(outputs, lambda q: data._replace(q=q))


def by_tensorflow(node, operands):
    """TensorFlow's result for one node: an array, or a list for several outputs."""
    alone = tf.GraphDef(node=[node])
    alone.node[0].ClearField('input')
    alone.node[0].attr.pop('_output_shapes', None)
    with tf.Graph().as_default():
        fed = {tf.placeholder(operand.dtype, operand.shape, 'operand{}'.format(number)): operand
               for number, operand in enumerate(operands)}
        alone.node[0].input.extend(tensor.op.name for tensor in fed)
        operation, = tf.import_graph_def(alone, {tensor.op.name: tensor for tensor in fed}, [node.name], name='node')
        with _session() as session:
            results = session.run(list(operation.outputs), fed)
    return results if len(results) > 1 else results[0]


def _fix_neuron(node, x, known):
    position, bits = node.attr['quantize_pos'].i, node.attr['bit_width'].i
    require(-126 <= position <= 126, 'position {}', position)
    if isinstance(x, Fixed):
        require((x.p, x.bits) == (position, bits), 'copies integers of position {} to position {}', x.p, position)
        return x
    if isinstance(x, Unrounded):
        q = known * 2.**position if _check(x, position, known is not None) else _half_up(x.q, x.p - position)
    else:
        t = _as_floats(x).astype(np.float64) * 2.0**position
        q = np.floor(t + 0.5) if node.attr['mode'].i == 1 else np.sign(t) * np.floor(np.abs(t) + 0.5)
    half = 1 << (bits - 1)
    q = np.clip(q, -half + ('_symmetric' in node.attr), half - 1)
    return Fixed(q.astype(np.int64), position, bits, isinstance(x, np.ndarray))


def _check(x, position, may_be_unlike):
    """Whether TensorFlow's result is known to differ from x at a position."""
    unlike = position > x.like_to and may_be_unlike
    for limit in x.limits:
        try:
            limit(position)
        except Unlike:
            if not may_be_unlike:
                raise
            unlike = True
    return unlike


def _half_up(q, shift):
    """q / 2^shift, rounded."""
    return q << -shift if shift <= 0 else (q + (1 << (shift - 1))) >> shift


def _session():
    return tf.Session(config=quick_tensorflow.one_thread())
