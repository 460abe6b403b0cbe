"""Placeholders that only choose branches, such as a learning phase: what input_fn feeds them is taken for good."""
import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf import errors
from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.view import node_name

_CONDITION = {'Switch': 1, 'Select': 0}  # which input chooses
_FED = ('Placeholder', 'PlaceholderV2', 'PlaceholderWithDefault')


def find_phases(view, config):
    """The placeholders in the range of the config, in graph order, on which alone a choice between branches depends.

    Input nodes are none of them.
    """
    inputs = frozenset(map(node_name, config.input_nodes))
    found, seen = set(), set()
    for name in view.upstream(map(node_name, config.output_nodes), inputs):
        index = _CONDITION.get(view.op(name))
        condition = '' if index is None else node_name(view.inputs(name)[index])
        if condition and condition not in seen:
            seen.add(condition)
            members = view.upstream([condition])
            fed = [member for member in members if view.op(member) in _FED]
            if inputs.isdisjoint(fed) and all(_may_be_scalar(view, member) for member in fed) and not any(
                    view.is_stateful(member) for member in members):
                found.update(fed)
    return tuple(sorted(found, key=view.order))


def _may_be_scalar(view, name):
    # A placeholder of an old graph has no shape where it says so.
    return not view.shape(name)


class FedPhases:
    """The values of phases for good.

    Args:
      view: GraphView of the graph. phases: from `find_phases`. feed: the first batch, {tensor name: array}.

    Attributes:
      values: {placeholder: array}: what is fed, the default where nothing is. One that is fed no scalar is not among them.
    """

    def __init__(self, view, phases, feed):
        self._defaults = {}
        for name in phases:
            if view.op(name) == 'PlaceholderWithDefault':
                self._defaults[name] = view.value(view.skip_identity(view.inputs(name)[0]))
        values = {name: self._value(name, feed) for name in phases}
        self.values = {name: value for name, value in values.items() if value is not None and np.ndim(value) == 0}

    def _value(self, name, feed):
        return feed.get(name + ':0', self._defaults.get(name))

    def check(self, step, feed):
        """Raises a QuantizeError INVALID_INPUT_FN where the feed of another step gives a phase another value."""
        for name, value in self.values.items():
            other = self._value(name, feed)
            if not np.array_equal(value, other):
                raise errors.QuantizeError(
                    errors.INVALID_INPUT_FN, 'Wrong data', 'input_fn at step {}: it returned {} for {!r}, and {} at step 0. '
                    'The model keeps the branch that this chooses; return the value of inference in every step, or name the '
                    'placeholder in input_nodes.'.format(step, other, name, value))

    def explain(self, error):
        """The QuantizeError for a LEARNING_PHASE error of the graph with these values: it says what was fed, if that is why."""
        fed = ['{!r} is {} ({})'.format(name, value, 'its default' if value is self._defaults.get(name) else 'from input_fn')
               for name, value in self.values.items() if value]
        if error.code != errors.LEARNING_PHASE or not fed:
            return error
        return errors.QuantizeError(
            error.code, error.summary, '{} The placeholder {}, which may mean training: let input_fn return the value of '
            'inference, False or 0.'.format(error.detail, ' and the placeholder '.join(fed)))


def with_phases(graph_def, values):
    """The graph with a Const for each placeholder in `values`, {name: array}; itself without values."""
    if not values:
        return graph_def
    return editor.subgraph(graph_def, [
        editor.constant(node.name, tf.as_dtype(node.attr['dtype'].type), values[node.name]) if node.name in values else node
        for node in graph_def.node])
