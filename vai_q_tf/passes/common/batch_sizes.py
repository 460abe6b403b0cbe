"""Opens constants that TensorFlow computed from the batch size of a network that was built for one."""
from typing import Callable, Collection, Dict, List, NamedTuple, Optional, Union

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.control_flow import branch_nodes
from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.passes.common.parameters import evaluate, known_nodes, static_nodes
from vai_q_tf.passes.common.rewriter import Rewriter, make_node

# The static shape of a tensor, -1 for unknown sizes; None for an unknown rank.
ShapeOf = Callable[[str], Optional[List[int]]]


class _Operands(NamedTuple):
    """Indices of the input with the shape of the result and of that with the data."""
    shape: int
    data: int


class _Place(NamedTuple):
    """The dimension of a tensor that counts the examples, and how many of its indices belong to one, such as its rows."""
    axis: int
    inner: int


_SHAPED = {'Reshape': _Operands(shape=1, data=0), 'Conv2DBackpropInput': _Operands(shape=0, data=2)}


def batch_size(input_nodes: Collection[str], shape: ShapeOf) -> int:
    """The first size of all inputs; -1 if it is open, or if they differ."""
    sizes = {_first(shape(name)) for name in input_nodes}
    return sizes.pop() if len(sizes) == 1 else -1


def open_batch_sizes(graph_def: tf.GraphDef, rewriter: Rewriter, input_nodes: Collection[str], shape: ShapeOf) -> None:
    """Lets Reshapes and transposed convolutions of constant sizes take any number of examples.

    In the shape of a Reshape, the dimension that counts the examples becomes -1; the sizes of a transposed convolution begin
    with the batch size of its data.

    Args:
      graph_def: the graph of `rewriter`, whose inputs have one batch size.
      rewriter: the Rewriter.
      input_nodes: names of the inputs.
      shape: shapes of the tensors for that batch size.
    """
    batch = batch_size(input_nodes, shape)
    places = _places(rewriter, input_nodes, shape, batch)
    for name, sizes in _constant_shapes(graph_def, rewriter.view).items():
        if rewriter.view.op(name) == 'Conv2DBackpropInput':
            data = rewriter.view.inputs(name)[_SHAPED['Conv2DBackpropInput'].data]
            if sizes[0] == batch == _first(shape(data)):
                _take_batch_of(rewriter, name, data, sizes)
            continue
        place, result = places.get(name), shape(name)
        if place and result and sizes[place.axis] > 0:
            result = result[:place.axis] + [-1] + result[place.axis + 1:]
            if result.count(-1) == 1:
                reshape_to(rewriter, name, result)


def _first(shape: Optional[List[int]]) -> int:
    return shape[0] if shape else -1


def _places(rewriter: Rewriter, input_nodes: Collection[str], shape: ShapeOf, batch: int) -> Dict[str, Optional[_Place]]:
    """{float node that depends on the inputs: the _Place of the examples in its first result; None if it is not known}."""
    view = rewriter.view
    places: Dict[str, Optional[_Place]] = {name: _Place(0, 1) for name in input_nodes}
    for name in view.upstream(view.names):
        data = next((tensor for tensor in view.inputs(name) if node_name(tensor) in places), '')
        if data and name not in places and view.dtype(name) == tf.float32:
            old, new = shape(data), shape(name)
            place = _moved(rewriter, name, places[node_name(data)], old, new, batch) if old and new else None
            places[name] = place or (_Place(0, 1) if _first(new) == batch else None)
    return places


def _moved(rewriter: Rewriter, name: str, place: Optional[_Place], old: List[int], new: List[int],
           batch: int) -> Optional[_Place]:
    """The _Place after the node, which turns a tensor of the shape `old` with the examples at `place` into one of `new`."""
    op = rewriter.view.op(name)
    if place is None:
        return None
    if op == 'Reshape':
        return _reshaped(place, old, new, batch)
    if op == 'Transpose':
        order = rewriter.value(rewriter.view.inputs(name)[1])
        return None if order is None else _Place(order.tolist().index(place.axis), place.inner)
    if len(old) == len(new):
        return place if old[place.axis] == new[place.axis] else None
    return _Place(new.index(old[place.axis]), place.inner) if new.count(old[place.axis]) == 1 else None


def _reshaped(place: _Place, old: List[int], new: List[int], batch: int) -> Optional[_Place]:
    """The _Place after a Reshape: the dimension whose indices step over whole examples, and over all of them."""
    if min(old + new) < 1:
        return _Place(0, new[0] // batch) if place == (0, 1) and new[0] > 0 and new[0] % batch == 0 else None
    step = place.inner * int(np.prod(old[place.axis + 1:]))  # elements from one example to the next
    below = [int(np.prod(new[axis + 1:])) for axis in range(len(new))]
    found = [_Place(axis, step // below[axis]) for axis, size in enumerate(new)
             if step % below[axis] == 0 and size * below[axis] % (step * batch) == 0]
    # A batch of one example could be in several dimensions.
    return min(found, key=lambda after: (after.inner, new[after.axis]) != (1, batch)) if found else None


def _constant_shapes(graph_def: tf.GraphDef, view: GraphView) -> Dict[str, np.ndarray]:
    """{node that computes with data: the constant shape that it gives its result}."""
    static, branches = static_nodes(view), branch_nodes(view)
    known = known_nodes(view, static)
    operands = {name: view.inputs(name)[_SHAPED[view.op(name)].shape] for name in view.names
                if view.op(name) in _SHAPED and name not in static and name not in branches}
    values = evaluate(graph_def, view, {tensor for tensor in operands.values() if node_name(tensor) in known})
    return {name: values[tensor] for name, tensor in operands.items() if tensor in values}


def reshape_to(rewriter: Rewriter, name: str, sizes: List[int]) -> None:
    """Makes a Reshape read `sizes` in place of its shape, under the name of that if no other node reads it."""
    operand = rewriter.view.inputs(name)[_SHAPED['Reshape'].shape]
    is_own = ':' not in operand and rewriter.is_read_only_by(operand, (name,))
    shape = editor.constant(operand if is_own else rewriter.unique(name + '/shape'), tf.int32, np.array(sizes, np.int32))
    rewriter.add(shape)
    node = editor.exact_copy(rewriter.node(name))
    node.input[_SHAPED['Reshape'].shape] = shape.name
    if 'Tshape' in node.attr:
        node.attr['Tshape'].type = tf.int32.as_datatype_enum
    rewriter.add(node)


def _take_batch_of(rewriter: Rewriter, name: str, data: str, sizes: np.ndarray) -> None:
    """Makes a transposed convolution read `sizes` with the batch size of the tensor `data`."""
    def add(node: tf.NodeDef) -> str:
        rewriter.add(node)
        return node.name

    def constant(end: str, value: Union[int, List[int]]) -> str:
        return add(editor.constant(rewriter.unique('{}/{}'.format(name, end)), tf.int32, np.array(value, np.int32)))

    shape = add(make_node('Shape', rewriter.unique(name + '/batch_of'), [data], T=tf.float32, out_type=tf.int32))
    batch = add(make_node(
        'StridedSlice', rewriter.unique(name + '/batch'),
        [shape] + [constant('batch/' + end, [number]) for end, number in (('begin', 0), ('end', 1), ('strides', 1))],
        T=tf.int32, Index=tf.int32, shrink_axis_mask=1))
    rest = [constant('size_{}'.format(axis), int(size)) for axis, size in enumerate(sizes[1:], 1)]
    rewriter.set_input(name, _SHAPED['Conv2DBackpropInput'].shape, add(make_node(
        'Pack', rewriter.unique(name + '/sizes'), [batch] + rest, T=tf.int32, N=len(sizes), axis=0)))
