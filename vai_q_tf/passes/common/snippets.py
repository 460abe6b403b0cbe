"""Parts that several passes put into a graph or look for in one: constants, multipliers, shapes."""
import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.traits import IDENTITY_OPS
from vai_q_tf.passes.common.rewriter import make_node

# On the nodes of the arithmetic on parameters that passes write, which is evaluated where the values are known.
FOLDED = '_folded'


def shaped(node, dims):
    """`node`, whose one output is noted to have the shape `dims` (-1: unknown; None: unknown rank)."""
    shape = tf.TensorShape(dims if dims is None else [None if dim == -1 else dim for dim in dims])
    node.attr['_output_shapes'].list.shape.extend([shape.as_proto()])
    return node


def constant(name, value):
    """A Const NodeDef with the ndarray `value`, its shape noted."""
    return shaped(editor.constant(name, value.dtype, value), value.shape)


def arithmetic(op, name, inputs, dims, **attrs):
    """A NodeDef that computes a float32 parameter of the shape `dims` of other parameters; see `FOLDED`."""
    return shaped(make_node(op, name, inputs, T=tf.float32, **{FOLDED: True}, **attrs), dims)


def is_all(value, number, tolerance=1e-5):
    """Whether `value`, an ndarray or None, has elements and all are within `tolerance` of `number`."""
    return value is not None and value.size > 0 and bool(np.all(np.abs(value.astype(np.float64) - number) < tolerance))


def own_constant(rewriter, name, index):
    """The Const that input `index` of the node reads, through Identity nodes, where nothing else reads it and it is not
    protected; None otherwise."""
    view = rewriter.view
    tensor = view.inputs(name)[index]
    while tensor not in rewriter.protected and len(view.consumers(tensor)) == 1:
        if view.op(tensor) == 'Const':
            return tensor
        if view.op(tensor) not in IDENTITY_OPS:
            return None
        tensor = view.inputs(tensor)[0]
    return None


def append_multiplier(rewriter, name, factor, names, inner):
    """Multiplies output 0 of the node `name` by a scalar, unless the only reader is that multiplication already.

    Args:
      rewriter: the Rewriter of a graph with the float32 node `name`.
      factor: a number, multiplied with as float32.
      names: of the new Mul and of its Const, which has the shape [1].
      inner: the new name of the node where the Mul has to take its name.
    """
    if _is_multiplied(rewriter, name, factor):
        return
    product, scale = [rewriter.unique(wanted) for wanted in names]
    rewriter.add(constant(scale, np.array([factor], np.float32)))
    multiplication = make_node('Mul', product, [name, scale], like=rewriter.node(name), T=tf.float32)
    if name not in rewriter.protected:
        rewriter.inherit_sources(multiplication, name)
    rewriter.append(name, [multiplication], inner)


def _is_multiplied(rewriter, name, factor):
    view = rewriter.view
    readers = view.consumers(name)
    if name in rewriter.protected or len(readers) != 1 or view.op(readers[0][0]) != 'Mul':
        return False
    reader, index = readers[0]
    return is_all(rewriter.value(view.inputs(reader)[1 - index]), factor, 1e-7)
