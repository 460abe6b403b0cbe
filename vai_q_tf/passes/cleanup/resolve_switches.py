"""Takes the branch that a constant condition chooses, as of a learning phase."""
import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.control_flow import LOOP_VALUE_OPS
from vai_q_tf.graph.dependence import reach
from vai_q_tf.graph.view import node_name, normalise, output_index, tensor_name
from vai_q_tf.passes.common.parameters import evaluate, known_nodes, static_nodes
from vai_q_tf.passes.common.rewriter import make_node

_CONDITION = {'Switch': 1, 'Select': 0}  # which input chooses
_LOGICAL = {'LogicalNot': lambda value: not value, 'LogicalAnd': lambda left, right: left and right,
            'LogicalOr': lambda left, right: left or right}


def resolve_switches(graph_def, view, protected):
    """The graph where an Identity stands for each Merge, Select, and output of a Switch, that a constant condition decides.

    What is in the branches that are not taken is dropped, and what was computed for them only. A PlaceholderWithDefault
    counts as its default where that is False, which is inference for a learning phase.

    Args:
      view: the GraphView of `graph_def`, which may have control inputs.
      protected: names of nodes that stay, and are not constant.
    """
    if not any(node.op in _CONDITION for node in graph_def.node):
        return graph_def
    order = view.upstream(view.names)
    conditions = _conditions(view, order, frozenset(protected))
    conditions.update(_computed_conditions(graph_def, view, conditions, protected))
    dead, untaken = _dead(view, order, conditions)
    chosen = _selects(view, conditions)
    if not untaken and not chosen or not dead.isdisjoint(protected):
        return graph_def
    new, moved, undecided = dict(chosen), {}, False
    for name in order:
        if name in dead:
            continue
        if (name, 0) in untaken or (name, 1) in untaken:
            moved[tensor_name(name, 0 if (name, 1) in untaken else 1)] = view.inputs(name)[0]
        elif view.op(name) == 'Merge':
            alive = [number for number, tensor in enumerate(view.inputs(name)) if not _is_dead(tensor, dead, untaken)]
            if len(alive) == 1 and len(view.inputs(name)) > 1:
                new[name] = make_node('Identity', name, [view.inputs(name)[alive[0]]], T=view.dtype(name))
                index = tensor_name(name, 1)
                if view.consumers(index):
                    moved[index] = _free(view, name + '/value_index')
                    new[moved[index]] = editor.constant(moved[index], tf.int32, alive[0])
            elif len(alive) < len(view.inputs(name)):
                undecided = True
    dropped = set() if undecided else dead.union(name for name, _ in untaken)
    nodes = {name: _rewired(new.get(name) or view.node(name), moved, dropped) for name in view.names if name not in dropped}
    nodes.update((name, added) for name, added in new.items() if name not in nodes)
    used = reach(protected.union(name for name in _unread(view) if name in nodes),
                 lambda name: map(node_name, nodes[name].input))
    return editor.subgraph(graph_def, [nodes[name] for name in nodes if name in used])


def _rewired(old, moved, dropped):
    """The NodeDef with the inputs that are moved, and without control inputs from dropped nodes."""
    return editor.with_inputs(old, [_resolved(reference, moved) for reference in old.input
                                    if not (reference.startswith('^') and reference[1:] in dropped)])


def _unread(view):
    read = {control for name in view.names for control in view.control_inputs(name)}
    for name in view.names:
        read.update(node_name(tensor) for tensor in view.inputs(name))
    return (name for name in view.names if name not in read)


def _resolved(reference, moved):
    if reference.startswith('^'):
        return reference
    tensor = normalise(reference)
    while tensor in moved:
        tensor = moved[tensor]
    return tensor


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
            value = tf.make_ndarray(view.node(name).attr['value'].tensor)
            if value.size == 1:
                known[name] = bool(value)
        elif op == 'PlaceholderWithDefault' and operands == [False]:
            known[name] = False
        elif op in ('Identity', 'Switch') and operands and operands[0] is not None:
            known[name] = operands[0]
        elif op in _LOGICAL and None not in operands:
            known[name] = _LOGICAL[op](*operands)
    return known


def _computed_conditions(graph_def, view, conditions, protected):
    """{node: bool} of further conditions: what is computed of constants otherwise than by logic."""
    wanted = {node_name(view.inputs(name)[_CONDITION[view.op(name)]]) for name in view.names if view.op(name) in _CONDITION}
    wanted = [name for name in wanted if name not in conditions and name not in protected and view.op(name) != 'Const']
    static = static_nodes(view) if wanted else ()
    known = known_nodes(view, static) if wanted else ()
    values = evaluate(graph_def, view, [name for name in wanted if name in known])
    return {name: bool(value) for name, value in values.items() if np.ndim(value) == 0}


def _selects(view, conditions):
    """{node: Identity of what it chooses} of the Selects whose condition is one constant."""
    return {name: make_node('Identity', name, [view.inputs(name)[1 if conditions[node_name(view.inputs(name)[0])] else 2]],
                            T=view.dtype(name))
            for name in view.names if view.op(name) == 'Select' and node_name(view.inputs(name)[0]) in conditions}


def _dead(view, order, conditions):
    """The nodes that are never computed, and (Switch, output) that none of its values goes to; order: producers first."""
    dead, untaken = set(), set()
    for name in order:
        inputs = view.inputs(name)
        if view.op(name) == 'Merge':
            loop = any(view.op(tensor) in LOOP_VALUE_OPS for tensor in inputs)
            is_dead = not loop and all(_is_dead(tensor, dead, untaken) for tensor in inputs)
        else:
            is_dead = any(_is_dead(tensor, dead, untaken) for tensor in inputs) or any(
                control in dead for control in view.control_inputs(name))
        if is_dead:
            dead.add(name)
        elif view.op(name) == 'Switch' and node_name(inputs[1]) in conditions:
            untaken.add((name, 0 if conditions[node_name(inputs[1])] else 1))
    return dead, untaken


def _is_dead(tensor, dead, untaken):
    return node_name(tensor) in dead or (node_name(tensor), output_index(tensor)) in untaken
