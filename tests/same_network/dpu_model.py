"""Runs a deployed model as the DPU does: integers, shifts and one rounding a tensor; no TensorFlow decides a number of it.

What an op gives is exact until its FixNeuron; there it is rounded half up, shifted and saturated once. The ops are in
`dpu_ops`. What moves values only is moved by TensorFlow's own op, and what stays float is computed by it.
"""
from typing import NamedTuple

import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow.python.framework import tensor_util

MOVES = frozenset((
    'BatchToSpaceND', 'DepthToSpace', 'ExpandDims', 'Max', 'Pad', 'Reshape', 'ResizeNearestNeighbor', 'SpaceToBatchND', 'Split',
    'SplitV', 'Squeeze', 'StridedSlice', 'Transpose', 'Unpack'))
FLOAT_OPS = frozenset(('LRN', 'Maximum', 'Minimum', 'Sigmoid', 'Softmax', 'Tanh'))


class Refused(AssertionError):
    """The DPU does not compute this."""


class Fixed(NamedTuple):
    """A tensor in memory: the integers q at position p, of `bits` bits; whether it is a constant."""
    q: np.ndarray
    p: int
    bits: int
    constant: bool

    def real(self):
        return self.q * 2.0**-self.p


class Unrounded(NamedTuple):
    """What an op gives before its FixNeuron, the integers q at position p.

    kind: what may still be fused with it. limits: functions of the FixNeuron's position that raise Refused where no register
    can shift to it.
    """
    q: np.ndarray
    p: int
    kind: str
    limits: tuple = ()

    def real(self):
        return self.q * 2.0**-self.p


class Float(NamedTuple):
    """A tensor that is not quantized."""
    value: np.ndarray

    def real(self):
        return self.value


def run(model, feed):
    """{node name: its first output} of all nodes of a GraphDef, each a Fixed, Unrounded or Float, or an array of a Const or
    of a computed shape.

    feed: {placeholder name: array}. Raises Refused where the model has what the DPU does not compute.
    """
    values = {}
    for node in tf.GraphDef.FromString(model.SerializeToString()).node:  # reading an attr that a node lacks gives it the attr
        operands = [_output(values, name) for name in node.input]
        try:
            value = Float(feed[node.name]) if node.op == 'Placeholder' else _compute(node, operands)
        except Refused as error:
            raise Refused('{} ({}): {}'.format(node.name, node.op, error)) from None
        values[node.name] = value if isinstance(value, list) else [value]
    return {name: outputs[0] for name, outputs in values.items()}


def require(condition, message, *values):
    if not condition:
        raise Refused(message.format(*values))


def by_tensorflow(node, operands):
    """The outputs of an op of TensorFlow, arrays: one, or a list of several."""
    graph_def, names = tf.GraphDef(), []
    copy = graph_def.node.add()
    copy.CopyFrom(node)
    copy.attr.pop('_output_shapes', None)
    with tf.Graph().as_default() as graph:
        for number, operand in enumerate(operands):
            names.append('operand{}'.format(number))
            tf.placeholder(operand.dtype, operand.shape, names[-1])
        copy.input[:] = names
        outputs = tf.graph_util.import_graph_def(graph_def, {name: graph.get_tensor_by_name(name + ':0') for name in names},
                                                 [node.name], '')[0].outputs
        with tf.Session() as session:
            results = session.run(list(outputs), {name + ':0': operand for name, operand in zip(names, operands)})
    return results if len(results) > 1 else results[0]


def _output(values, name):
    name, _, number = name.partition(':')
    return values[name][int(number or 0)]


def _compute(node, operands):
    from tests.same_network.dpu_ops import OPS
    quantized = [operand for operand in operands if isinstance(operand, (Fixed, Unrounded))]
    if node.op == 'Const':
        return tensor_util.MakeNdarray(node.attr['value'].tensor)
    if node.op == 'FixNeuron':
        return _fix_neuron(node, *operands)
    if node.op == 'Shape':
        return np.array(np.shape(_array(operands[0])), np.int32)
    if any(isinstance(operand, Float) for operand in operands) or (quantized and node.op in FLOAT_OPS):
        return _wrapped(by_tensorflow(node, [_array(operand) for operand in operands]), Float)
    if not quantized:
        return by_tensorflow(node, operands)
    if node.op in MOVES:
        return _moved(node, operands)
    require(node.op in OPS, 'no arithmetic is known for it')
    return OPS[node.op](node, *operands)


def _array(operand):
    if isinstance(operand, np.ndarray):
        return operand
    real = operand.real()
    require(np.array_equal(real.astype(np.float32), real), 'an op that stays float reads what float32 does not hold')
    return real.astype(np.float32)


def _wrapped(outputs, wrap):
    return [wrap(output) for output in outputs] if isinstance(outputs, list) else wrap(outputs)


def _moved(node, operands):
    """Copies of the integers, at the position that they have."""
    data, = (operand for operand in operands if isinstance(operand, (Fixed, Unrounded)))
    copy = tf.NodeDef.FromString(node.SerializeToString())
    copy.attr['T'].type = tf.int64.as_datatype_enum
    return _wrapped(by_tensorflow(copy, [operand.q if operand is data else operand for operand in operands]),
                    lambda q: data._replace(q=q))


def _fix_neuron(node, x):
    position, bits = node.attr['quantize_pos'].i, node.attr['bit_width'].i
    require(-126 <= position <= 126, 'position {}', position)
    half = 1 << (bits - 1)
    if isinstance(x, Fixed):
        require(x.p == position and x.bits == bits, 'copies integers of position {} to position {}', x.p, position)
        return x
    if isinstance(x, Unrounded):
        for limit in x.limits:
            limit(position)
        q = rounded(x.q, x.p - position)
    else:
        t = np.asarray(x if isinstance(x, np.ndarray) else x.value, np.float64) * 2.0**position
        q = np.floor(t + 0.5) if node.attr['mode'].i == 1 else np.sign(t) * np.floor(np.abs(t) + 0.5)
    return Fixed(np.clip(q, -half, half - 1).astype(np.int64), position, bits, isinstance(x, np.ndarray))


def rounded(q, shift):
    """q / 2^shift, a half goes up."""
    return q << -shift if shift <= 0 else (q + (1 << (shift - 1))) >> shift
