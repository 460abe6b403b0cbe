"""Replaces conditionals with a constant condition, such as a learning phase, by the branch that is taken."""
from typing import AbstractSet, Callable, Container, Dict, Iterable, Iterator, List, Mapping, Optional, Set

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.control_flow import LOOP_VALUE_OPS
from vai_q_tf.graph.dependence import reach
from vai_q_tf.graph.view import GraphView, node_name, normalise, tensor_name
from vai_q_tf.passes.common.parameters import evaluate, known_nodes, static_nodes
from vai_q_tf.passes.common.rewriter import make_node

_CONDITION = {'Switch': 1, 'Select': 0}  # the index of the condition
_LOGICAL: Dict[str, Callable] = {
    'LogicalNot': lambda value: not value, 'LogicalAnd': lambda left, right: left and right,
    'LogicalOr': lambda left, right: left or right}


def resolve_switches(graph_def: tf.GraphDef, view: GraphView, protected: AbstractSet[str]) -> tf.GraphDef:
    """The graph with an Identity in place of each Merge and Select that a constant condition decides.

    The branches that are not taken are dropped, together with all nodes that only they need. A PlaceholderWithDefault is taken
    as its default if that is False, which for a learning phase means inference.

    >>> from vai_q_tf.passes.common.examples import print_before_and_after
    >>> print_before_and_after(
    ...     lambda graph_def, protected, config: resolve_switches(graph_def, GraphView(graph_def), protected),
    ...     lambda x: tf.cond(tf.placeholder_with_default(False, []), lambda: tf.nn.relu(x), lambda: -x))
    Merge(Neg(Switch(x, Identity(PlaceholderWithDefault(0)))), Relu(Switch(x, Identity(PlaceholderWithDefault(0))):1))
    Identity(Neg(x))

    Args:
      view: the GraphView of `graph_def`.
      protected: names of nodes that stay. Placeholders among them are fed, so that their defaults do not count.
    """
    if not any(node.op in _CONDITION for node in graph_def.node):
        return graph_def
    order = view.upstream(view.names)
    conditions = _logical_conditions(view, order, protected)
    conditions.update(_computed_conditions(graph_def, view, conditions, protected))
    dead = _find_dead(view, order, conditions)
    edits = _Edits(view, dead)
    edits.resolve_selects(conditions)
    if not dead.outputs and not edits.replaced or not dead.nodes.isdisjoint(protected):
        return graph_def
    for name in order:
        if name not in dead.nodes:
            edits.resolve(name)
    return edits.result(graph_def, protected)


def _logical_conditions(view: GraphView, order: Iterable[str], protected: Container[str]) -> Dict[str, bool]:
    """{node: bool} of the bool Consts, and of what Identity, Switch and logical ops compute from them."""
    known: Dict[str, bool] = {}
    for name in order:
        if name not in protected and (view.dtype(name) == tf.bool or view.op(name) == 'Switch'):
            value = _logical_value(view, name, [known.get(node_name(tensor)) for tensor in view.inputs(name)])
            if value is not None:
                known[name] = value
    return known


def _logical_value(view: GraphView, name: str, operands: List[Optional[bool]]) -> Optional[bool]:
    """The value of a node that computes a bool, None if unknown; operands: the values of its inputs, None if unknown."""
    op = view.op(name)
    if op == 'Const':
        value = tf.make_ndarray(view.node(name).attr['value'].tensor)
        return bool(value) if value.size == 1 else None
    if op == 'PlaceholderWithDefault':
        return False if operands == [False] else None
    if op in ('Identity', 'Switch'):
        return operands[0] if operands else None
    return _LOGICAL[op](*operands) if op in _LOGICAL and None not in operands else None


def _computed_conditions(graph_def: tf.GraphDef, view: GraphView, conditions: Container[str],
                         protected: Container[str]) -> Dict[str, bool]:
    """{node: bool} of further conditions that TensorFlow can compute from constants."""
    read = {node_name(view.inputs(name)[_CONDITION[view.op(name)]]) for name in view.names if view.op(name) in _CONDITION}
    wanted = [name for name in read if name not in conditions and name not in protected and view.op(name) != 'Const']
    if not wanted:
        return {}
    known = known_nodes(view, static_nodes(view))
    values = evaluate(graph_def, view, [name for name in wanted if name in known])
    return {name: bool(value) for name, value in values.items() if np.ndim(value) == 0}


class _Dead:
    """The parts of a graph that are never computed.

    Attributes:
      nodes: nodes. outputs: outputs of Switches that forward no value.
    """

    def __init__(self) -> None:
        self.nodes: Set[str] = set()
        self.outputs: Set[str] = set()

    def __contains__(self, tensor: str) -> bool:
        return node_name(tensor) in self.nodes or tensor in self.outputs


def _find_dead(view: GraphView, order: Iterable[str], conditions: Mapping[str, bool]) -> _Dead:
    """The _Dead; order: the nodes, producers first."""
    dead = _Dead()
    for name in order:
        inputs = view.inputs(name)
        if view.op(name) == 'Merge':
            is_loop = any(view.op(tensor) in LOOP_VALUE_OPS for tensor in inputs)
            is_dead = not is_loop and all(tensor in dead for tensor in inputs)
        else:
            is_dead = any(tensor in dead for tensor in inputs) or not dead.nodes.isdisjoint(view.control_inputs(name))
        if is_dead:
            dead.nodes.add(name)
        elif view.op(name) == 'Switch' and node_name(inputs[1]) in conditions:
            dead.outputs.add(tensor_name(name, 0 if conditions[node_name(inputs[1])] else 1))
    return dead


class _Edits:
    """The edits of a graph whose dead parts are known.

    Attributes:
      replaced: {name: NodeDef} of new nodes, and of those in place of the nodes of their names.
    """

    def __init__(self, view: GraphView, dead: _Dead) -> None:
        self.replaced: Dict[str, tf.NodeDef] = {}
        self._view = view
        self._dead = dead
        self._redirects: Dict[str, str] = {}  # tensor -> the tensor to read instead
        self._all_decided = True

    def resolve_selects(self, conditions: Mapping[str, bool]) -> None:
        """Replaces each Select with one of these conditions by the operand that it chooses."""
        for name in self._view.names:
            if self._view.op(name) == 'Select':
                condition, if_true, if_false = self._view.inputs(name)
                if node_name(condition) in conditions:
                    self._replace(name, if_true if conditions[node_name(condition)] else if_false)

    def resolve(self, name: str) -> None:
        """Removes the node if it is a Switch or a Merge that is decided."""
        inputs = self._view.inputs(name)
        taken = [tensor_name(name, index) for index in (0, 1) if tensor_name(name, 1 - index) in self._dead.outputs]
        if taken:
            self._redirects[taken[0]] = inputs[0]
        elif self._view.op(name) == 'Merge':
            alive = [index for index, tensor in enumerate(inputs) if tensor not in self._dead]
            if len(alive) == 1 and len(inputs) > 1:
                self._replace(name, inputs[alive[0]])
                self._replace_index(name, alive[0])
            elif len(alive) < len(inputs):
                self._all_decided = False

    def _replace(self, name: str, tensor: str) -> None:
        self.replaced[name] = make_node('Identity', name, [tensor], T=self._view.dtype(name))

    def _replace_index(self, merge: str, index: int) -> None:
        """Makes the readers of output 1 of a Merge read a Const: the index of the input that it forwards."""
        tensor = tensor_name(merge, 1)
        if self._view.consumers(tensor):
            name = merge + '/value_index'
            while name in self._view:
                name += '_1'
            self._redirects[tensor] = name
            self.replaced[name] = editor.constant(name, tf.int32, index)

    def result(self, graph_def: tf.GraphDef, protected: AbstractSet[str]) -> tf.GraphDef:
        """The edited graph: what the protected nodes depend on, and the nodes that nothing read before."""
        view = self._view
        dropped: Set[str] = self._dead.nodes.union(map(node_name, self._dead.outputs)) if self._all_decided else set()
        nodes = {name: self._rewired(self.replaced.get(name) or view.node(name), dropped)
                 for name in view.names if name not in dropped}
        nodes.update((name, node) for name, node in self.replaced.items() if name not in nodes)
        used = reach(protected | {name for name in _unread(view) if name in nodes},
                     lambda name: map(node_name, nodes[name].input))
        return editor.subgraph(graph_def, [nodes[name] for name in nodes if name in used])

    def _rewired(self, node: tf.NodeDef, dropped: Container[str]) -> tf.NodeDef:
        """The NodeDef with redirected inputs, and without control inputs from dropped nodes."""
        return editor.with_inputs(node, [reference if reference.startswith('^') else self._redirected(reference)
                                         for reference in node.input
                                         if not (reference.startswith('^') and reference[1:] in dropped)])

    def _redirected(self, reference: str) -> str:
        tensor = normalise(reference)
        while tensor in self._redirects:
            tensor = self._redirects[tensor]
        return tensor


def _unread(view: GraphView) -> Iterator[str]:
    """The nodes that no other node reads or waits for."""
    read = {control for name in view.names for control in view.control_inputs(name)}
    for name in view.names:
        read.update(node_name(tensor) for tensor in view.inputs(name))
    return (name for name in view.names if name not in read)
