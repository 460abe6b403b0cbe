"""Takes the branch that a constant condition chooses, as of a learning phase."""
import tensorflow.compat.v1 as tf
from tensorflow.python.framework import tensor_util

from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.view import node_name, output_index, tensor_name
from vai_q_tf.passes.rewriter import node

_LOGICAL = {'LogicalNot': lambda value: not value, 'LogicalAnd': lambda left, right: left and right,
            'LogicalOr': lambda left, right: left or right}
_LOOP_OPS = frozenset(('Enter', 'RefEnter', 'NextIteration', 'RefNextIteration'))


def resolve_switches(graph_def, view, fed=()):
    """The graph where an Identity stands for each Merge, and each output of a Switch, that a constant condition decides.

    A PlaceholderWithDefault counts as its default where that is False, which is inference for a learning phase.

    Args:
      view: the GraphView of `graph_def`, which may have control inputs. fed: names of nodes that are not constant.
    """
    if not any(node.op == 'Switch' for node in graph_def.node):
        return graph_def
    order = view.upstream(view.names)
    dead = _dead_tensors(view, order, _conditions(view, order, frozenset(fed)))
    new, moved = {}, {}
    for name in order:
        if view.op(name) == 'Switch' and any(tensor_name(name, index) in dead for index in (0, 1)) and name not in dead:
            alive = tensor_name(name, 0 if tensor_name(name, 1) in dead else 1)
            moved[alive] = view.inputs(name)[0]
        elif view.op(name) == 'Merge' and name not in dead:
            alive = [number for number, tensor in enumerate(view.inputs(name)) if _key(tensor) not in dead]
            if len(alive) == 1 and len(view.inputs(name)) > 1:
                new[name] = node('Identity', name, [view.inputs(name)[alive[0]]], T=view.dtype(name))
                index = tensor_name(name, 1)
                if view.consumers(index):
                    moved[index] = _free(view, name + '/value_index')
                    new[moved[index]] = editor.constant(moved[index], tf.int32, alive[0])
    nodes = [new.get(name, view.node(name)) for name in view.names]
    nodes += [added for name, added in new.items() if name not in view]
    result = editor.subgraph(graph_def, nodes)
    result.library.CopyFrom(graph_def.library)
    for changed in result.node:
        for number, reference in enumerate(changed.input):
            tensor = _key(reference)
            while not reference.startswith('^') and tensor in moved:
                tensor = moved[tensor]
                changed.input[number] = tensor
    return result


def _key(reference):
    return tensor_name(node_name(reference), output_index(reference))


def _free(view, name):
    while name in view:
        name += '_1'
    return name


def _conditions(view, order, fed):
    """{node: bool} of the constant conditions."""
    known = {}
    for name in order:
        op, inputs = view.op(name), view.inputs(name)
        if name in fed or (view.dtype(name) != tf.bool and op != 'Switch'):
            continue
        operands = [known.get(node_name(tensor)) for tensor in inputs]
        if op == 'Const':
            value = tensor_util.MakeNdarray(view.node(name).attr['value'].tensor)
            if value.size == 1:
                known[name] = bool(value)
        elif op == 'PlaceholderWithDefault' and operands == [False]:
            known[name] = False
        elif op in ('Identity', 'Switch') and operands and operands[0] is not None:
            known[name] = operands[0]
        elif op in _LOGICAL and None not in operands:
            known[name] = _LOGICAL[op](*operands)
    return known


def _dead_tensors(view, order, conditions):
    """The tensors that are never computed, and the nodes of which none is; order: producers first."""
    dead = set()
    for name in order:
        inputs = view.inputs(name)
        controls_dead = any(control in dead for control in view.control_inputs(name))
        if view.op(name) == 'Merge':
            loop = any(view.op(tensor) in _LOOP_OPS for tensor in inputs)
            is_dead = not loop and all(_key(tensor) in dead for tensor in inputs)
        else:
            is_dead = controls_dead or any(_key(tensor) in dead for tensor in inputs)
        if is_dead:
            dead.update([name] + [tensor_name(name, index) for index in range(len(view.output_types(name)))])
        elif view.op(name) == 'Switch' and node_name(inputs[1]) in conditions:
            dead.add(_untaken(name, conditions[node_name(inputs[1])]))
    return dead


def _untaken(name, condition):
    return tensor_name(name, 0 if condition else 1)
