"""Makes Reshapes and transposed convolutions with a constant batch size take any; the compiler compiles for a batch of one."""
from typing import Collection, List, Optional

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph.view import GraphView
from vai_q_tf.passes.common.batch_sizes import batch_size, open_batch_sizes, reshape_to
from vai_q_tf.passes.common.infer_shapes import infer_shapes
from vai_q_tf.passes.common.parameters import computed_floats, static_nodes
from vai_q_tf.passes.common.rewriter import Rewriter


def open_batches(graph_def: tf.GraphDef, protected: Collection[str], config: QuantizeConfig) -> tf.GraphDef:
    """The graph with -1 for the batch size in the constant shapes of Reshapes, if that computes the same.

    If the placeholders have a fixed batch size, `open_batch_sizes` finds what was computed from it, also in transposed
    convolutions. In other graphs [8, 10] becomes [-1, 10] if the first size of the data is 8 or unknown. [8, -1] becomes
    [-1, size of an image] if the first size of the data is 8, or if a MatMul after it takes rows of that size. Reshapes in
    branches and loops stay. The shapes noted in the result are those that TensorFlow infers.

    >>> from vai_q_tf.passes.common.examples import print_before_and_after
    >>> print_before_and_after(open_batches, lambda x: tf.reshape(x, [8, 10]), [-1, 2, 5])
    Reshape(x, [8, 10])
    Reshape(x, [-1, 10])
    """
    opened = _for_fixed_batch(graph_def, protected, config)
    rewriter = Rewriter(opened, protected)
    view = rewriter.view
    for name in computed_floats(view, ('Reshape',), static_nodes(view, in_branches=True)):
        data, shape = view.inputs(name)
        dims = _open(view, name, view.shape(data), rewriter.value(shape))
        if dims:
            reshape_to(rewriter, name, dims)
    result = rewriter.result()
    return result if result is graph_def else infer_shapes(result, protected, config)


def _for_fixed_batch(graph_def: tf.GraphDef, protected: Collection[str], config: QuantizeConfig) -> tf.GraphDef:
    """The graph without constants of the batch size of its placeholders, if that is fixed; see `open_batch_sizes`."""
    view = GraphView(graph_def)
    inputs = [name for name in view.names if view.op(name) == 'Placeholder' and name in protected]
    if not inputs or batch_size(inputs, view.shape) < 2:
        return graph_def
    shaped = infer_shapes(graph_def, protected, config)
    rewriter = Rewriter(shaped, protected)
    open_batch_sizes(shaped, rewriter, inputs, rewriter.view.shape)
    result = rewriter.result()
    return graph_def if result is shaped else result


def _open(view: GraphView, name: str, data: Optional[List[int]], value: Optional[np.ndarray]) -> Optional[List[int]]:
    """The new shape of a Reshape of data of the shape `data`, a list, to the shape `value`; None if it stays."""
    if not data or value is None or not value.size or value[0] < 2 or data[0] not in (-1, value[0]):
        return None
    rest = value[1:].tolist()
    if -1 in rest:
        image, known = int(np.prod(data[1:])), -int(np.prod(rest))
        if min(data[1:] + [known]) < 1 or image % known:
            return None
        rest[rest.index(-1)] = image // known
        if data[0] == -1 and not (len(rest) == 1 and _takes_rows(view, name, image)):
            return None  # the first size may not be the batch
    return [-1] + rest if min(rest + [1]) > 0 else None


def _takes_rows(view: GraphView, name: str, size: int) -> bool:
    """Whether a MatMul after the node takes rows of `size` values."""
    for reader, index in view.consumers(name):
        if view.op(reader) == 'MatMul' and index == 0 and not view.attr(reader, 'transpose_a').b:
            weights = view.shape(view.inputs(reader)[1])
            if weights and weights[1 if view.attr(reader, 'transpose_b').b else 0] == size:
                return True
    return False
