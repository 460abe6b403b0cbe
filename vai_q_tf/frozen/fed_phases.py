"""Placeholders that only choose branches, such as a learning phase: the model keeps the branch that input_fn chooses."""
from typing import AbstractSet, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.config import QuantizeConfig
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.control_flow import branch_nodes, upstream_with_branches
from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.types import Feed, Values

_CONDITION = {'Switch': 1, 'Select': 0}  # the input that chooses
_FED = ('Placeholder', 'PlaceholderV2', 'PlaceholderWithDefault')


def find_phases(view: GraphView, config: QuantizeConfig) -> Tuple[str, ...]:
    """The scalar placeholders in the range of the config that alone decide a choice between branches, in graph order.

    Input nodes are not phases.
    """
    inputs = frozenset(map(node_name, config.input_nodes))
    members = upstream_with_branches(view, map(node_name, config.output_nodes), inputs, branch_nodes(view))
    chosen = [name for name in members if view.op(name) in _CONDITION]
    conditions = {node_name(view.inputs(name)[_CONDITION[view.op(name)]]) for name in chosen}
    return tuple(sorted({phase for condition in conditions for phase in _phases(view, condition, inputs)}, key=view.order))


def _phases(view: GraphView, condition: str, inputs: AbstractSet[str]) -> Sequence[str]:
    """The placeholders of a condition; () if it also depends on data or state."""
    members = view.upstream([condition])
    fed = [member for member in members if view.op(member) in _FED]
    # The shape is [] for a scalar, None for an unknown rank, as in graphs of old TensorFlow versions.
    is_data = not inputs.isdisjoint(fed) or any(view.shape(member) for member in fed)
    return () if is_data or any(map(view.is_stateful, members)) else fed


class FedPhases:
    """The values of phases in all steps.

    Args:
      view: GraphView of the graph. phases: from `find_phases`. feed: the first batch, {tensor name: array}.

    Attributes:
      values: {placeholder: array}, the value that is fed or else the default. Phases whose value is not a scalar are left out.
    """

    def __init__(self, view: GraphView, phases: Sequence[str], feed: Feed) -> None:
        self._defaults = {name: view.value(view.skip_identity(view.inputs(name)[0])) for name in phases
                          if view.op(name) == 'PlaceholderWithDefault'}
        values = {name: self._value(name, feed) for name in phases}
        self.values = {name: value for name, value in values.items() if value is not None and np.ndim(value) == 0}

    def _value(self, name: str, feed: Feed) -> Optional[np.ndarray]:
        return feed.get(name + ':0', self._defaults.get(name))

    def check(self, step: int, feed: Feed) -> None:
        """Raises a QuantizeError INVALID_INPUT_FN if the feed of another step gives a phase another value."""
        for name, value in self.values.items():
            other = self._value(name, feed)
            if not np.array_equal(value, other):
                raise errors.QuantizeError(
                    errors.INVALID_INPUT_FN, 'Wrong data', 'input_fn at step {}: it returned {} for {!r}, and {} at step 0. '
                    'The model keeps the branch that this chooses; return the value of inference in every step, or name the '
                    'placeholder in input_nodes.'.format(step, other, name, value))

    def explain(self, error: errors.QuantizeError) -> errors.QuantizeError:
        """The error, with the phases that are fed a true value added if it is a LEARNING_PHASE error of the graph."""
        fed = ['{!r} is {} ({})'.format(name, value, 'its default' if value is self._defaults.get(name) else 'from input_fn')
               for name, value in self.values.items() if value]
        if error.code != errors.LEARNING_PHASE or not fed:
            return error
        return errors.QuantizeError(
            error.code, error.summary, '{} The placeholder {}, which may mean training: let input_fn return the value of '
            'inference, False or 0.'.format(error.detail, ' and the placeholder '.join(fed)))


def with_phases(graph_def: tf.GraphDef, values: Values) -> tf.GraphDef:
    """The graph with a Const for each placeholder in `values`, {name: array}; the graph itself if `values` is empty."""
    if not values:
        return graph_def
    return editor.subgraph(graph_def, [
        editor.constant(node.name, tf.as_dtype(node.attr['dtype'].type), values[node.name]) if node.name in values else node
        for node in graph_def.node])
