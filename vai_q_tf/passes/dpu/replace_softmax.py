"""Replaces softmax by its bfloat16 approximation in Vitis AI: a polynomial for exp, and an approximate reciprocal."""
from typing import Any, Collection, Iterable, List, Optional, Sequence, Union

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.dpu import RECIPROCAL_SEED, RECIPROCAL_STEP, SOFTMAX_LANES, SOFTMAX_POLYNOMIAL
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.passes.common import snippets
from vai_q_tf.passes.common.rewriter import Rewriter, make_node

# An attr of the result: the logits. Gradients take the exact softmax of these, since the ops of this one have none.
SOFTMAX_OF = '_softmax_of'


def replace_softmax(graph_def: tf.GraphDef, protected: Collection[str], config: QuantizeConfig) -> tf.GraphDef:
    """The graph with the hard softmax in place of every float32 Softmax, of any rank, with a known number of classes.

    bf() rounds to bfloat16, to nearest with ties to even; operations on two bfloat16 operands are bfloat16 operations:

        xb = bf(x - max(x))
        r = floor(xb * bf(1 / ln 2));  m = xb - r * bf(ln 2)
        p = bf(0.21875 m + 0.486328125);  p = bf(m p + 1);  p = bf(m p + 1);  e = 2^r * p
        S = bf(sum over 16 lanes of bf(sum of the e of the lane)), class i in lane i mod 16
        y = bfloat16 with the bits 0x7EB5 - bits of S;  y = y * bf(1.9395974) * bf(bf(1.436142) - y S)
        y = bf(bf(1 - y S) y + y);  result = e * y

    The error is less than 0.01. The Vitis AI quantizer does not subtract the maximum, so there large logits overflow; apart
    from that the results differ by rounding only. The result is `<softmax>/output_cast`, or takes the name of a protected
    Softmax.

    >>> from vai_q_tf.graph.view import GraphView
    >>> with tf.Graph().as_default() as graph:
    ...     probabilities = tf.nn.softmax(tf.constant([[1.0, 2.0, 4.0]]), name='y')
    >>> with tf.Graph().as_default(), tf.Session() as session:
    ...     hard = replace_softmax(graph.as_graph_def(add_shapes=True), ['y'], QuantizeConfig())
    ...     print(session.run(tf.import_graph_def(hard, return_elements=['y:0'])[0]).round(3))
    [[0.042 0.114 0.844]]
    """
    rewriter = Rewriter(graph_def, protected)
    for name in rewriter.view.names:
        if rewriter.view.op(name) == 'Softmax' and rewriter.view.dtype(name) == tf.float32:
            _replace(rewriter, name)
    return rewriter.result()


def _replace(rewriter: Rewriter, name: str) -> None:
    shape = rewriter.view.shape(name)
    if not shape or shape[-1] < 1:
        tf.logging.info('Softmax %s stays: the number of its classes is not known.', name)
        return
    result = _HardSoftmax(rewriter, name, shape).build()
    if result != name:
        rewriter.redirect(name, result)


class _HardSoftmax:
    """Builds the nodes that replace one Softmax."""

    def __init__(self, rewriter: Rewriter, name: str, shape: List[int]) -> None:
        self._rewriter = rewriter
        self._name = name
        self._shape = shape  # of the Softmax, and of most of the new nodes

    def build(self) -> str:
        """Adds the nodes and returns the name of the result."""
        powers = self._exponentials(self._shifted())
        reciprocal = self._reciprocal(self._sum(powers))
        product = self._bfloat('Mul', 'y2', powers, reciprocal)
        result = self._name if self._name in self._rewriter.protected else self._rewriter.unique(self._name + '/output_cast')
        node = make_node('Cast', result, [product], SrcT=tf.bfloat16, DstT=tf.float32)
        self._rewriter.inherit_sources(node, self._name)
        node.attr[SOFTMAX_OF].s = self._rewriter.view.inputs(self._name)[0].encode()
        self._rewriter.add(snippets.shaped(node, self._shape))
        return result

    def _shifted(self) -> str:
        logits = self._rewriter.view.inputs(self._name)[0]
        axis = self._constant('exp_poly/max/reduction_indices', np.int32([-1]))
        # In float64, since plans quantize the result of a float32 Max.
        wide = self._node('Cast', 'exp_poly/max/cast', [logits], self._shape, SrcT=tf.float32, DstT=tf.float64)
        largest = self._node('Max', 'exp_poly/max', [wide, axis], self._per_row(1), T=tf.float64, keep_dims=True)
        largest = self._node('Cast', 'exp_poly/max/float', [largest], self._per_row(1), SrcT=tf.float64, DstT=tf.float32)
        return self._cast('exp_poly/round/cast', self._float('Sub', 'exp_poly/shift', logits, largest), tf.bfloat16)

    def _exponentials(self, x: str) -> str:
        scaled = self._bfloat('Mul', 'exp_poly/round/mul', x, self._bfloat_constant('exp_poly/round/rcp_ln2', 1 / np.log(2)))
        power = self._bfloat('Floor', 'exp_poly/round/round', scaled)
        whole = self._bfloat('Mul', 'exp_poly/modulo/mul', power, self._bfloat_constant('exp_poly/modulo/ln2', np.log(2)))
        rest = self._cast('exp_poly/poly_approx/cast_1', self._bfloat('Sub', 'exp_poly/modulo/sub', x, whole), tf.float32)
        value = self._wide_constant('exp_poly/poly_approx/alpha_3', SOFTMAX_POLYNOMIAL[0], 'exp_poly/poly_approx/cast_7')
        for step, coefficient in enumerate(SOFTMAX_POLYNOMIAL[1:]):
            alpha = self._wide_constant('exp_poly/poly_approx/alpha_{}'.format(2 - step), coefficient,
                                        'exp_poly/poly_approx/cast_{}'.format(8 + step))
            product = self._float('Mul', 'exp_poly/poly_approx/mul_{}'.format(2 + step), rest, value)
            total = self._float('Add', 'exp_poly/poly_approx/add' + '_{}'.format(step) * (step > 0), product, alpha)
            rounded = self._cast('exp_poly/poly_approx/cast_{}'.format(2 + 2 * step), total, tf.bfloat16)
            if step < 2:
                value = self._cast('exp_poly/poly_approx/cast_{}'.format(3 + 2 * step), rounded, tf.float32)
        two = self._bfloat_constant('exp_poly/pow/pow/x', 2.0)
        return self._bfloat('Mul', 'exp_poly/exp_x', self._bfloat('Pow', 'exp_poly/pow/pow', two, power), rounded)

    def _sum(self, powers: str) -> str:
        rank, classes = len(self._shape), self._shape[-1]
        lanes = min(SOFTMAX_LANES, classes)
        powers = self._cast('exp_sum/cast_input', powers, tf.float32)
        ahead = self._transpose('exp_sum/in_transpose', powers, [rank - 1] + list(range(rank - 1)),
                                [classes] + self._shape[:-1])
        ids = self._constant('exp_sum/vector_sum/segment_ids', np.arange(classes, dtype=np.int32) % SOFTMAX_LANES)
        count = self._constant('exp_sum/vector_sum/num_segments', np.int32(lanes))
        sums = self._node('UnsortedSegmentSum', 'exp_sum/vector_sum', [ahead, ids, count], [lanes] + self._shape[:-1],
                          T=tf.float32, Tindices=tf.int32, Tnumsegments=tf.int32)
        shape = self._per_row(lanes)
        sums = self._transpose('exp_sum/out_transpose', sums, list(range(1, rank)) + [0], shape)
        sums = self._cast('exp_sum/cast_out_32', self._cast('exp_sum/cast_out_16', sums, tf.bfloat16, shape), tf.float32, shape)
        axis = self._constant('exp_sum/sum/reduction_indices', np.int32([-1]))
        total = self._node('Sum', 'exp_sum/sum', [sums, axis], self._per_row(1), T=tf.float32, keep_dims=True)
        return self._cast('exp_sum/cast_reduce_sum_out_16', total, tf.bfloat16, self._per_row(1))

    def _reciprocal(self, total: str) -> str:
        row = self._per_row(1)
        bits = self._node('Bitcast', 'reciprocal/to_int', [total], row, T=tf.bfloat16, type=tf.int16)
        seed = self._constant('reciprocal/complement', np.int16(RECIPROCAL_SEED))
        bits = self._node('Sub', 'reciprocal/sub_2', [seed, bits], row, T=tf.int16)
        guess = self._node('Bitcast', 'reciprocal/y0', [bits], row, T=tf.int16, type=tf.bfloat16)
        total = self._cast('reciprocal/cast_11', total, tf.float32, row)

        factor, offset = RECIPROCAL_STEP
        scaled = self._bfloat('Mul', 'reciprocal/mul_6', guess, self._bfloat_constant('reciprocal/mul_6/k1', factor),
                              shape=row)
        product = self._float('Mul', 'reciprocal/mul_7', self._cast('reciprocal/cast_12', guess, tf.float32, row), total,
                              shape=row)
        wide = self._wide_constant('reciprocal/sub_3/k2', offset, 'reciprocal/cast_13')
        rest = self._float('Sub', 'reciprocal/sub_3', wide, product, shape=row)
        rest = self._cast('reciprocal/cast_14', rest, tf.bfloat16, row)
        better = self._bfloat('Mul', 'reciprocal/y1', scaled, rest, shape=row)
        better = self._cast('reciprocal/cast_15', better, tf.float32, row)

        product = self._float('Mul', 'reciprocal/mul_9', better, total, shape=row)
        one = self._wide_constant('reciprocal/add/ones', 1, 'reciprocal/cast_19')
        rest = self._float('Sub', 'reciprocal/sub_4', one, product, shape=row)
        rest = self._cast('reciprocal/cast_16', rest, tf.bfloat16, row)
        rest = self._cast('reciprocal/cast_17', rest, tf.float32, row)
        rest = self._float('Mul', 'reciprocal/mul_10', rest, better, shape=row)
        total = self._float('Add', 'reciprocal/add_4', rest, better, shape=row)
        return self._cast('reciprocal/cast_18', total, tf.bfloat16, row)

    def _per_row(self, size: int) -> List[int]:
        return self._shape[:-1] + [size]

    def _node(self, op: str, name: str, inputs: Iterable[str], shape: Optional[Sequence[int]], **attrs: Any) -> str:
        node = make_node(op, self._rewriter.unique('{}/{}'.format(self._name, name)), inputs, **attrs)
        self._rewriter.add(snippets.shaped(node, self._shape if shape is None else shape))
        return node.name

    def _float(self, op: str, name: str, *inputs: str, shape: Optional[Sequence[int]] = None) -> str:
        return self._node(op, name, inputs, shape, T=tf.float32)

    def _bfloat(self, op: str, name: str, *inputs: str, shape: Optional[Sequence[int]] = None) -> str:
        return self._node(op, name, inputs, shape, T=tf.bfloat16)

    def _cast(self, name: str, tensor: str, to: tf.DType, shape: Optional[Sequence[int]] = None) -> str:
        source = tf.float32 if to == tf.bfloat16 else tf.bfloat16
        return self._node('Cast', name, [tensor], shape, SrcT=source, DstT=to)

    def _transpose(self, name: str, tensor: str, order: Sequence[int], shape: Sequence[int]) -> str:
        perm = self._constant(name + '/perm', np.int32(order))
        return self._node('Transpose', name, [tensor, perm], shape, T=tf.float32, Tperm=tf.int32)

    def _constant(self, name: str, value: Union[np.ndarray, np.generic]) -> str:
        return snippets.add_constant(self._rewriter, '{}/{}'.format(self._name, name), np.asarray(value))

    def _wide_constant(self, name: str, value: float, cast: str) -> str:
        """A bfloat16 constant, cast to float32: the compiler recognises the softmax by these casts."""
        return self._cast(cast, self._bfloat_constant(name, value), tf.float32, [])

    def _bfloat_constant(self, name: str, value: float) -> str:
        node = editor.constant(self._rewriter.unique('{}/{}'.format(self._name, name)), tf.bfloat16,
                               np.array(value, tf.bfloat16.as_numpy_dtype))
        self._rewriter.add(snippets.shaped(node, []))
        return node.name
