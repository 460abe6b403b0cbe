"""Nodes of the optimised network that compute the same as the live ops of their names."""
from typing import Container, Optional, Set

import tensorflow.compat.v1 as tf

from vai_q_tf.graph.traits import SHAPE_OPS
from vai_q_tf.graph.view import REDEFINED, GraphView, node_name
from vai_q_tf.passes.common.parameters import static_nodes
from vai_q_tf.passes.common.rewriter import results_of
from vai_q_tf.passes.common.snippets import FOLDED
from vai_q_tf.qat.network.inference_form import InferenceForm
from vai_q_tf.qat.network.stand_ins import variable_of


class Correspondence:
    """Compares the optimised network with the network before the passes.

    Args:
      view, clean: the GraphViews of both.
      form: the InferenceForm.

    Attributes:
      static: the nodes of `view` that are parameters.
      same_parameters: those of them that compute the same as the live ops of their names.
      kept: the other nodes that do.
    """

    def __init__(self, view: GraphView, clean: GraphView, form: InferenceForm) -> None:
        self._view, self._clean = view, clean
        self._changed = form.changed
        self._moved = {tensor: name for name in view.names for tensor in results_of(view.node(name))}
        self.static = static_nodes(view, in_branches=True)
        self.same_parameters = self._find_same_parameters()
        self.kept = {name for name in view.names if self._is_kept(name)}

    def place_of(self, tensor: str) -> Optional[str]:
        """The tensor of the optimised graph with the value of a tensor of the clean graph; None if there is none."""
        seen = set()
        while tensor in self._moved and tensor not in seen:
            seen.add(tensor)
            tensor = self._moved[tensor]
        name = node_name(tensor)
        return tensor if name in self._view and (seen or REDEFINED not in self._view.node(name).attr) else None

    def reads_variables_or(self, name: str, nodes: Container[str]) -> bool:
        """Whether all inputs of a node are variables or belong to `nodes`."""
        return all(self._is_variable(tensor) or node_name(tensor) in nodes for tensor in self._view.inputs(name))

    def _is_variable(self, tensor: str) -> bool:
        return bool(variable_of(self._view.node(node_name(tensor))))

    def _find_same_parameters(self) -> Set[str]:
        same: Set[str] = set()
        for name in self._view.upstream(self._view.names):
            if name not in self.static or name not in self._clean or name in self._changed:
                continue
            node = self._view.node(name)
            if (not variable_of(node) and FOLDED not in node.attr and _is_alike(node, self._clean.node(name))
                    and self.reads_variables_or(name, same) and self._view.inputs(name) == self._clean.inputs(name)):
                same.add(name)
        return same

    def _is_kept(self, name: str) -> bool:
        if name in self.static or name not in self._clean or name in self._changed:
            return False
        node, inputs, before = self._view.node(name), self._view.inputs(name), self._clean.inputs(name)
        if node.op == 'Placeholder':
            return True
        if node.op in SHAPE_OPS and inputs == before:
            return True  # folding does not change shapes
        if REDEFINED in node.attr or not _is_alike(node, self._clean.node(name)) or len(inputs) != len(before):
            return False
        return all(self._is_same_input(*pair) for pair in zip(before, inputs))

    def _is_same_input(self, before: str, now: str) -> bool:
        if node_name(now) not in self.static:
            return now == self.place_of(before)
        node = self._view.node(node_name(now))
        if FOLDED in node.attr:
            return False
        if now == before and self._is_same_parameter(now):
            return True
        # A parameter that was separated from another one has its value.
        source = self._clean.node(node_name(before))
        return (_is_alike(node, source) and variable_of(node) == variable_of(source)
                and self._view.inputs(now) == self._clean.inputs(before)
                and all(map(self._is_same_parameter, self._view.inputs(now))))

    def _is_same_parameter(self, tensor: str) -> bool:
        return node_name(tensor) in self.same_parameters or self._is_variable(tensor)


def _is_alike(node: tf.NodeDef, other: tf.NodeDef) -> bool:
    """Whether two NodeDefs have the same op and attrs, apart from private ones."""
    return node.op == other.op and _attrs(node) == _attrs(other)


def _attrs(node: tf.NodeDef) -> dict:
    return {key: value for key, value in node.attr.items() if not key.startswith('_')}
