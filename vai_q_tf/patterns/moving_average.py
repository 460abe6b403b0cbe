"""Finding the variable that keeps the moving average of a tensor."""
from vai_q_tf.graph.traits import FORWARDS, READ_OPS, trait
from vai_q_tf.graph.view import VARIABLE_OPS, node_name, tensor_name

_SUBTRACT_OPS = frozenset(('AssignSub', 'AssignSubVariableOp'))
_ASSIGN_OPS = frozenset(('Assign', 'AssignVariableOp'))


def find_moving_average(graph_range, tensor):
    """The one variable with an update `variable -= (variable - tensor) * factor`; '' if there is none, or several.

    A variable from which another one is assigned, as in a zero-debiased average, does not count.
    """
    view = graph_range.view
    found = set()
    for difference, _ in _readers(view, tensor):
        if view.op(difference) != 'Sub':
            continue
        variables = {_variable(view, operand) for operand in view.inputs(difference)} - {''}
        for product, _ in _readers(view, difference):
            if view.op(product) != 'Mul':
                continue
            for update, index in _readers(view, product):
                if view.op(update) in _SUBTRACT_OPS and index == 1:
                    found.update(variables & {_variable(view, view.inputs(update)[0])})
    if len(found) != 1 or _assigns_another(view, *found):
        return ''
    return found.pop()


def variable_read(view, variable):
    """The first tensor that reads the variable without waiting for an update, best for nothing; '' if none does."""
    updates = _SUBTRACT_OPS | _ASSIGN_OPS
    reads = [name for name, _ in view.consumers(variable) if view.op(name) in READ_OPS
             and not any(view.op(control) in updates for control in view.control_inputs(name))]
    return min(reads, key=lambda name: (bool(view.control_inputs(name)), view.order(name)), default='')


def _readers(view, tensor):
    """The inputs that read the tensor in the whole graph, Identity nodes looked through."""
    found = []
    for name, index in view.consumers(tensor):
        found.extend(_readers(view, tensor_name(name, index)) if trait(view.op(name)).kind == FORWARDS else [(name, index)])
    return found


def _variable(view, tensor):
    """The variable that the tensor is or reads, '' if it is none."""
    while view.op(tensor) in READ_OPS:
        tensor = view.inputs(tensor)[0]
    return node_name(tensor) if view.op(tensor) in VARIABLE_OPS else ''


def _assigns_another(view, variable):
    """Whether a quotient of the variable, or of the result of its update, is assigned to a variable."""
    reads = [name for name, _ in view.consumers(variable) if view.op(name) in READ_OPS | _SUBTRACT_OPS]
    return any(view.op(assign) in _ASSIGN_OPS
               for read in reads for quotient, _ in _readers(view, read) if view.op(quotient) == 'RealDiv'
               for assign, _ in _readers(view, quotient))
