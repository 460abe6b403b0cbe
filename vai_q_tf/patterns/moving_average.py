"""Variables that keep the moving average of a tensor."""
from typing import Collection, Iterator, List, NamedTuple, Optional

from vai_q_tf.graph.traits import FORWARDS, READ_OPS, trait
from vai_q_tf.graph.view import VARIABLE_OPS, GraphView, node_name, tensor_name
from vai_q_tf.patterns.graph_range import GraphRange
from vai_q_tf.types import NodeInput

_SUBTRACT_OPS = frozenset(('AssignSub', 'AssignSubVariableOp'))
_ADD_OPS = frozenset(('AssignAdd', 'AssignAddVariableOp'))
_ASSIGN_OPS = frozenset(('Assign', 'AssignVariableOp'))


class MovingAverage(NamedTuple):
    """variable: its node. assigned: the input of an Assign that reads its new value; None if a difference updates it."""
    variable: str
    assigned: Optional[NodeInput] = None


def find_moving_average(graph_range: GraphRange, tensor: str) -> Optional[MovingAverage]:
    """The only MovingAverage of a tensor; None if there is none, or several.

    Its update is `variable -= (variable - tensor) * factor`, `variable += (tensor - variable) * factor`, or
    `variable = variable * decay + tensor * factor`. A zero-debiased average is the variable that gets the quotient.

    >>> import tensorflow.compat.v1 as tf
    >>> with tf.Graph().as_default() as graph:
    ...     x = tf.placeholder(tf.float32, [8, 4], name='x')
    ...     mean = tf.reduce_mean(x, axis=0, name='mean')
    ...     average = tf.get_variable('average', [4], use_resource=False)
    ...     update = tf.assign_sub(average, (average - mean) * 0.01)
    >>> graph_range = GraphRange(GraphView(graph.as_graph_def()), ['x'], ['mean'])
    >>> find_moving_average(graph_range, 'mean').variable, find_moving_average(graph_range, 'x')
    ('average', None)
    """
    view = graph_range.view
    found = {average for name, index in _readers(view, tensor) for average in _updated_by(view, name, index)}
    if len(found) != 1:
        return None
    average = found.pop()
    return _debiased(view, average.variable) or average


def _updated_by(view: GraphView, name: str, index: int) -> Iterator[MovingAverage]:
    """The MovingAverages whose update reads the tensor as input `index` of the node `name`."""
    if view.op(name) == 'Sub':
        variable = _variable(view, view.inputs(name)[1 - index])
        for product in _readers_of_type(view, name, ('Mul',)):
            for update in _readers_of_type(view, product, _SUBTRACT_OPS if index else _ADD_OPS):
                if variable and variable == _variable(view, view.inputs(update)[0]):
                    yield MovingAverage(variable)
    elif view.op(name) == 'Mul':
        for total in _readers_of_type(view, name, ('Add', 'AddV2')):
            variables = {_variable(view, operand) for product in map(view.skip_identity, view.inputs(total))
                         if view.op(product) == 'Mul' for operand in view.inputs(product)} - {''}
            for assign in _readers_of_type(view, total, _ASSIGN_OPS):
                if _variable(view, view.inputs(assign)[0]) in variables:
                    yield MovingAverage(_variable(view, view.inputs(assign)[0]), (assign, 1))


def variable_read(view: GraphView, variable: str) -> str:
    """The first tensor that reads the variable without waiting for an update, preferably for no node; '' if there is none."""
    updates = _SUBTRACT_OPS | _ADD_OPS | _ASSIGN_OPS
    reads = [name for name, _ in view.consumers(variable) if view.op(name) in READ_OPS
             and not any(view.op(control) in updates for control in view.control_inputs(name))]
    return min(reads, key=lambda name: (bool(view.control_inputs(name)), view.order(name)), default='')


def _readers(view: GraphView, tensor: str) -> List[NodeInput]:
    """The inputs of the whole graph that read the tensor, directly or through ops that forward it."""
    found: List[NodeInput] = []
    for name, index in view.consumers(tensor):
        found.extend(_readers(view, tensor_name(name, index)) if trait(view.op(name)).kind == FORWARDS else [(name, index)])
    return found


def _readers_of_type(view: GraphView, tensor: str, ops: Collection[str]) -> List[str]:
    return [name for name, _ in _readers(view, tensor) if view.op(name) in ops]


def _variable(view: GraphView, tensor: str) -> str:
    """The variable that the tensor is or reads; '' if there is none."""
    while view.op(tensor) in READ_OPS:
        tensor = view.inputs(tensor)[0]
    return node_name(tensor) if view.op(tensor) in VARIABLE_OPS else ''


def _debiased(view: GraphView, variable: str) -> Optional[MovingAverage]:
    """The MovingAverage that a quotient of the variable, or of the result of its update, is assigned to; None without."""
    reads = [name for name, _ in view.consumers(variable) if view.op(name) in READ_OPS | _SUBTRACT_OPS]
    return next((MovingAverage(_variable(view, view.inputs(assign)[0]), (assign, 1))
                 for read in reads for quotient in _readers_of_type(view, read, ('RealDiv',))
                 for assign in _readers_of_type(view, quotient, _ASSIGN_OPS)), None)
