"""Finds what tf.gradients has added to a live graph: its ops, what was differentiated, and where its result is the same.

TensorFlow notes on every op of a gradient function the forward op that it belongs to, and puts all ops of one call of
tf.gradients below a name scope of its own. The values that a call starts from, the gradients of the losses themselves, are
called `grad_ys_<k>` there. A forward op whose gradient function reads such a value is what was differentiated, or what the
differentiated tensor hands on unchanged, which has the same gradients.
"""
import re

import tensorflow.compat.v1 as tf

from vai_q_tf import errors, tf_internal
from vai_q_tf.graph import live_editor
from vai_q_tf.graph.dependence import reach

_SEED = re.compile(r'/grad_ys_\d+$')
# What differs between two calls of tf.gradients that compute the same.
_NAMES_OF_A_CALL = frozenset(('stack_name', 'frame_name', 'source', 'shared_name', 'container'))


class GradientCall:
    """One call of tf.gradients.

    Attributes:
      scope: the name scope of its ops.
      operations: its ops in the order of creation. members: their names.
      seeds: the tf.Tensors that it starts from, one for each of `ys`; never re-made.
      ys: tf.Tensors, copies of what was differentiated, which follow when that is quantized.
    """

    def __init__(self, graph, scope, operations):
        self.scope = scope
        self.operations = operations
        self.members = frozenset(op.name for op in operations)
        self.seeds, self.ys = [], []
        for op in operations:
            if _SEED.search(op.name):
                self._add_seed(graph, op)

    def _add_seed(self, graph, op):
        # Without a value of the caller a constant is filled into the shape of what is differentiated.
        fill = [reader for reader in op.outputs[0].consumers() if reader.type == 'Fill'] if op.type == 'Const' else [op]
        for seed in (filled.outputs[0] for filled in fill):
            for forward in self._differentiated(seed):
                value = next((output for output in forward.outputs if output.dtype.base_dtype == seed.dtype.base_dtype
                              and output.shape.is_compatible_with(seed.shape)), None)
                if value is not None:
                    with live_editor.with_placement_of(graph, value):
                        self.ys.append(tf.identity(value, name='vai_q_tf/differentiated'))
                    self.seeds.append(seed)

    def _differentiated(self, seed):
        """The forward ops whose gradient functions read `seed`, itself or in a sum with other gradients, once each."""
        found, stack, seen = {}, [seed], set()
        while stack:
            for reader in stack.pop().consumers():
                if reader.name not in self.members or reader in seen:
                    continue
                seen.add(reader)
                forward = tf_internal.forward_op(reader)
                if forward is not None:
                    found[tf_internal.creation_number(forward)] = forward
                else:
                    stack.extend(reader.outputs)
        return [found[number] for number in sorted(found)]


def find_calls(graph):
    """The GradientCalls of the live `graph`; each adds an Identity to it for what it differentiated."""
    operations = graph.get_operations()
    scopes = {scope for scope in map(_scope, operations) if scope}
    members = {scope: [] for scope in sorted(scopes)}
    for op in operations:
        parts = op.name.split('/')
        inside = next((scope for scope in ('/'.join(parts[:end]) for end in range(1, len(parts))) if scope in scopes), None)
        if inside:
            members[inside].append(op)
    return [GradientCall(graph, scope, ops) for scope, ops in members.items()]


def _scope(op):
    """The name scope of the call of tf.gradients that made `op` in a gradient function, else ''."""
    forward = tf_internal.forward_op(op)
    if forward is None:
        return ''
    scope, found, _ = op.name.partition('/{}_grad'.format(forward.name))
    return scope if found else ''


def downstream(calls):
    """Names of the ops of `calls` and of all that wait for them."""
    found = reach([op for call in calls for op in call.operations],
                  lambda op: [reader for output in op.outputs for reader in output.consumers()] + tf_internal.waiting_ops(op))
    return frozenset(op.name for op in found)


class Numbering:
    """Numbers tensors: those of equal computations from the same forward tensors have equal numbers.

    An op is its type, attributes, the forward op that it is a gradient of, and its inputs. Identity nodes, control inputs,
    devices and the order of the terms of a sum do not count.

    Args:
      graph: the live tf.Graph, as it is by now.
    """

    def __init__(self, graph):
        self.nodes = {node.name: node for node in graph.as_graph_def().node}
        self._numbers = {}

    def __call__(self, operations):
        """{(op name, output index): number} for all outputs of `operations`, which are in the order of creation."""
        members = frozenset(op.name for op in operations)
        before = {}
        # Around a loop an op reads what was made after it; the second pass knows what the first found there.
        for _ in range(2 if any(op.type == 'NextIteration' for op in operations) else 1):
            found = {}
            for op in operations:
                name = op.name
                inputs = [self._input(tensor, members, found, before) for tensor in _sources(op)]
                if op.type == 'Identity':
                    found[name, 0] = inputs[0]
                    continue
                if op.type == 'AddN':
                    inputs.sort()
                forward = tf_internal.forward_op(op)
                number = self._number((op.type, self._attributes(name), forward and forward.name, tuple(inputs)))
                for index in range(len(op.outputs)):
                    found[name, index] = self._number((number, index))
            before = found
        return before

    def _input(self, tensor, members, found, before):
        key = tensor.op.name, tensor.value_index
        if key[0] not in members:
            return self._number(key)
        return found.get(key, before.get(key, -1))

    def _number(self, signature):
        return self._numbers.setdefault(signature, len(self._numbers))

    def _attributes(self, name):
        attrs = self.nodes[name].attr
        return tuple((key, attrs[key].SerializeToString(deterministic=True)) for key in sorted(attrs)
                     if not key.startswith('_') and key not in _NAMES_OF_A_CALL and not attrs[key].HasField('func'))


def _sources(op):
    """The tensors that the outputs of `op` depend on: its inputs, and what a forward loop pushes on a stack."""
    sources = list(op.inputs)
    if op.type == 'StackV2':
        readers = op.outputs[0].consumers()
        readers += [reader for enter in readers if enter.type == 'Enter' for reader in enter.outputs[0].consumers()]
        sources += [reader.inputs[1] for reader in readers if reader.type == 'StackPushV2']
    return sources


def check_outside_control_flow(call):
    """Raises a QuantizeError where the call of tf.gradients was made inside a tf.cond or tf.while_loop."""
    if any(tf_internal.is_in_control_flow(seed.op) for seed in call.seeds):
        raise errors.QuantizeError(
            errors.UNSUPPORTED_GRAPH, 'Control flow',
            'The gradients below {!r} were made inside a tf.cond or tf.while_loop. Make them outside and only apply them '
            'there, or call CreateQuantizeTrainingGraph in the model function before the optimizer.'.format(call.scope))
