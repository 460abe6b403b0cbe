"""Variables that keep the moving average of a tensor."""
from typing import FrozenSet, List, Set, Tuple

from vai_q_tf.graph.traits import FORWARDS, READ_OPS, trait
from vai_q_tf.graph.view import VARIABLE_OPS, GraphView, known_value, node_name, tensor_name
from vai_q_tf.patterns.graph_range import GraphRange
from vai_q_tf.types import NodeInput

_SUBTRACT_OPS = frozenset(('AssignSub', 'AssignSubVariableOp'))
_ASSIGN_OPS = frozenset(('Assign', 'AssignVariableOp'))
_ADD_OPS = frozenset(('Add', 'AddV2'))


def find_moving_average(graph_range: GraphRange, tensor: str) -> str:
    """The only variable with an update that decays towards the tensor; '' if there is none, or several.

    Updates are `variable -= (variable - tensor) * factor` and `variable = variable * decay + tensor * (1 - decay)`. A variable
    that another one is assigned from, as in a zero-debiased average, does not count.

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
    found = {variable for reader, _ in _readers(view, tensor)
             for variable in _updated_by(view, reader) | _assigned_with(view, reader)}
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


def _assigned_with(view: GraphView, product: str) -> Set[str]:
    """The variables with an update `variable = variable * decay + product`, where `product` is tensor * (1 - decay)."""
    found = set()
    for total in _read_by(view, product, _ADD_OPS):
        assigned = {_variable(view, view.inputs(update)[0]) for update in _read_by(view, total, _ASSIGN_OPS)}
        products = [_scaled(view, operand) for operand in view.inputs(total)]
        if abs(sum(factor for _, factor in products) - 1) < 1e-6:
            found |= assigned & {_variable(view, tensor) for tensor, _ in products if tensor}
    return found - {''}


def _read_by(view: GraphView, tensor: str, op_types: FrozenSet[str]) -> List[str]:
    """The nodes of these types that read the tensor."""
    return [name for name, _ in _readers(view, tensor) if view.op(name) in op_types]


def _scaled(view: GraphView, product: str) -> Tuple[str, float]:
    """(tensor, factor) of a product of a tensor and a constant scalar; ('', 0) for anything else."""
    operands = view.inputs(product) if view.op(product) == 'Mul' else ()
    for tensor, factor in [operands, operands[::-1]] if operands else []:
        value = known_value(view.node(view.skip_identity(factor)))
        if value is not None and value.size == 1:
            return tensor, float(value)
    return '', 0.


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
