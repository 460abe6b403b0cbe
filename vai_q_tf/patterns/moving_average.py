"""Variables that keep the moving average of a tensor."""
from typing import List, Set

from vai_q_tf.graph.traits import FORWARDS, READ_OPS, trait
from vai_q_tf.graph.view import VARIABLE_OPS, GraphView, node_name, tensor_name
from vai_q_tf.patterns.graph_range import GraphRange
from vai_q_tf.types import NodeInput

_SUBTRACT_OPS = frozenset(('AssignSub', 'AssignSubVariableOp'))
_ASSIGN_OPS = frozenset(('Assign', 'AssignVariableOp'))


def find_moving_average(graph_range: GraphRange, tensor: str) -> str:
    """The only variable with an update `variable -= (variable - tensor) * factor`; '' if there is none, or several.

    A variable that another one is assigned from, as in a zero-debiased average, does not count.

    >>> import tensorflow.compat.v1 as tf
    >>> with tf.Graph().as_default() as graph:
    ...     x = tf.placeholder(tf.float32, [8, 4], name='x')
    ...     mean = tf.reduce_mean(x, axis=0, name='mean')
    ...     average = tf.get_variable('average', [4], use_resource=False)
    ...     update = tf.assign_sub(average, (average - mean) * 0.01)
    >>> graph_range = GraphRange(GraphView(graph.as_graph_def()), ['x'], ['mean'])
    >>> find_moving_average(graph_range, 'mean'), find_moving_average(graph_range, 'x')
    ('average', '')
    """
    view = graph_range.view
    found = {variable for difference, _ in _readers(view, tensor) for variable in _updated_by(view, difference)}
    if len(found) != 1 or _assigns_another(view, *found):
        return ''
    return found.pop()


def _updated_by(view: GraphView, difference: str) -> Set[str]:
    """The variables with an update `variable -= difference * factor`, where `difference` is variable - tensor."""
    if view.op(difference) != 'Sub':
        return set()
    products = [product for product, _ in _readers(view, difference) if view.op(product) == 'Mul']
    updates = [update for product in products for update, _ in _readers(view, product) if view.op(update) in _SUBTRACT_OPS]
    variables = {_variable(view, operand) for operand in view.inputs(difference)} - {''}
    return variables & {_variable(view, view.inputs(update)[0]) for update in updates}


def variable_read(view: GraphView, variable: str) -> str:
    """The first tensor that reads the variable without waiting for an update, preferably for no node; '' if there is none."""
    updates = _SUBTRACT_OPS | _ASSIGN_OPS
    reads = [name for name, _ in view.consumers(variable) if view.op(name) in READ_OPS
             and not any(view.op(control) in updates for control in view.control_inputs(name))]
    return min(reads, key=lambda name: (bool(view.control_inputs(name)), view.order(name)), default='')


def _readers(view: GraphView, tensor: str) -> List[NodeInput]:
    """The inputs of the whole graph that read the tensor, directly or through ops that forward it."""
    found: List[NodeInput] = []
    for name, index in view.consumers(tensor):
        found.extend(_readers(view, tensor_name(name, index)) if trait(view.op(name)).kind == FORWARDS else [(name, index)])
    return found


def _variable(view: GraphView, tensor: str) -> str:
    """The variable that the tensor is or reads; '' if there is none."""
    while view.op(tensor) in READ_OPS:
        tensor = view.inputs(tensor)[0]
    return node_name(tensor) if view.op(tensor) in VARIABLE_OPS else ''


def _assigns_another(view: GraphView, variable: str) -> bool:
    """Whether a quotient of the variable, or of the result of its update, is assigned to a variable."""
    reads = [name for name, _ in view.consumers(variable) if view.op(name) in READ_OPS | _SUBTRACT_OPS]
    return any(view.op(assign) in _ASSIGN_OPS
               for read in reads for quotient, _ in _readers(view, read) if view.op(quotient) == 'RealDiv'
               for assign, _ in _readers(view, quotient))
