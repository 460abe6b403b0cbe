"""Finds the calls of tf.gradients in a live graph: their ops, the tensors they differentiate, and equal results.

TensorFlow notes on every op of a gradient function the forward op that it belongs to, and puts all ops of one call of
tf.gradients into a separate name scope. The tensors that a call starts from, the gradients of the losses themselves, are
called `grad_ys_<k>` there. A forward op whose gradient function reads such a tensor was differentiated, or it forwards the
differentiated tensor unchanged, which has the same gradients.

Tests: tests/qat/gradients/test_regradient.py.
"""
import re
from typing import Dict, FrozenSet, Iterable, List, Sequence, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf import errors, tf_internal
from vai_q_tf.graph import live_editor
from vai_q_tf.graph.dependence import reach

_SEED = re.compile(r'/grad_ys_\d+$')
# Attributes that differ between two calls of tf.gradients that compute the same.
_NAMES_OF_A_CALL = frozenset(('stack_name', 'frame_name', 'source', 'shared_name', 'container'))


# {(op name, output index): number}
Numbers = Dict[Tuple[str, int], int]


class GradientCall:
    """One call of tf.gradients.

    Attributes:
      scope: the name scope of its ops.
      operations: its ops in the order of creation. members: their names.
      seeds: the tf.Tensors that it starts from, one for each of `ys`; when a call is repeated they are used again.
      ys: copies of the differentiated tensors; if those are quantized, the copies read the quantized ones.
    """

    def __init__(self, graph: tf.Graph, scope: str, operations: Sequence[tf.Operation]) -> None:
        self.scope = scope
        self.operations = operations
        self.members = frozenset(op.name for op in operations)
        self.seeds: List[tf.Tensor] = []
        self.ys: List[tf.Tensor] = []
        for op in operations:
            if _SEED.search(op.name):
                self._add_seed(graph, op)

    def _add_seed(self, graph: tf.Graph, op: tf.Operation) -> None:
        # If the caller gives no gradient, a constant is filled into the shape of the differentiated tensor.
        fill = [reader for reader in op.outputs[0].consumers() if reader.type == 'Fill'] if op.type == 'Const' else [op]
        for seed in (filled.outputs[0] for filled in fill):
            for forward in self._differentiated(seed):
                value = next((output for output in forward.outputs if output.dtype.base_dtype == seed.dtype.base_dtype
                              and output.shape.is_compatible_with(seed.shape)), None)
                if value is not None:
                    with live_editor.with_placement_of(graph, value):
                        self.ys.append(tf.identity(value, name='vai_q_tf/differentiated'))
                    self.seeds.append(seed)

    def _differentiated(self, seed: tf.Tensor) -> List[tf.Operation]:
        """The forward ops whose gradient functions read `seed`, directly or in a sum with other gradients, once each."""
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


def find_calls(graph: tf.Graph) -> List[GradientCall]:
    """The GradientCalls of the live `graph`; each adds an Identity to it for each tensor that it differentiated."""
    operations = graph.get_operations()
    scopes = {scope for scope in map(_scope, operations) if scope}
    members: Dict[str, List[tf.Operation]] = {scope: [] for scope in sorted(scopes)}
    for op in operations:
        parts = op.name.split('/')
        inside = next((scope for scope in ('/'.join(parts[:end]) for end in range(1, len(parts))) if scope in scopes), None)
        if inside:
            members[inside].append(op)
    return [GradientCall(graph, scope, ops) for scope, ops in members.items()]


def _scope(op: tf.Operation) -> str:
    """The name scope of the call of tf.gradients that created `op` in a gradient function; '' for any other op."""
    forward = tf_internal.forward_op(op)
    if forward is None:
        return ''
    scope, found, _ = op.name.partition('/{}_grad'.format(forward.name))
    return scope if found else ''


def downstream(calls: Iterable[GradientCall]) -> FrozenSet[str]:
    """Names of the ops of `calls` and of all ops that depend on them."""
    def following(op: tf.Operation) -> List[tf.Operation]:
        return [reader for output in op.outputs for reader in output.consumers()] + list(tf_internal.waiting_ops(op))

    found = reach([op for call in calls for op in call.operations], following)
    return frozenset(op.name for op in found)


class Numbering:
    """Numbers tensors: equal computations on the same forward tensors have equal numbers.

    An op is identified by its type, its attributes, the forward op that it is a gradient of, and its inputs. Identity nodes,
    control inputs, devices and the order of the terms of a sum do not count.

    Args:
      graph: the live tf.Graph in its current state.
    """

    def __init__(self, graph: tf.Graph) -> None:
        self.nodes = {node.name: node for node in graph.as_graph_def().node}
        self._numbers: Dict[tuple, int] = {}

    def __call__(self, operations: Sequence[tf.Operation]) -> Numbers:
        """The numbers of all outputs of `operations`, which are in the order of creation."""
        known: Numbers = {}
        # In a loop an op may read an op that was created later; the second pass uses the numbers that the first one found.
        for _ in range(2 if any(op.type == 'NextIteration' for op in operations) else 1):
            known = self._pass(operations, known)
        return known

    def _pass(self, operations: Sequence[tf.Operation], before: Numbers) -> Numbers:
        members = frozenset(op.name for op in operations)
        found: Numbers = {}
        for op in operations:
            inputs = [self._input(tensor, members, found, before) for tensor in _sources(op)]
            if op.type == 'Identity':
                found[op.name, 0] = inputs[0]
                continue
            if op.type == 'AddN':
                inputs.sort()
            forward = tf_internal.forward_op(op)
            number = self._number((op.type, self._attributes(op.name), forward and forward.name, tuple(inputs)))
            for index in range(len(op.outputs)):
                found[op.name, index] = self._number((number, index))
        return found

    def _input(self, tensor: tf.Tensor, members: FrozenSet[str], found: Numbers, before: Numbers) -> int:
        key = tensor.op.name, tensor.value_index
        if key[0] not in members:
            return self._number(key)
        return found.get(key, before.get(key, -1))

    def _number(self, signature: tuple) -> int:
        return self._numbers.setdefault(signature, len(self._numbers))

    def _attributes(self, name: str) -> Tuple[Tuple[str, bytes], ...]:
        attrs = self.nodes[name].attr
        return tuple((key, attrs[key].SerializeToString(deterministic=True)) for key in sorted(attrs)
                     if not key.startswith('_') and key not in _NAMES_OF_A_CALL and not attrs[key].HasField('func'))


def _sources(op: tf.Operation) -> List[tf.Tensor]:
    """The tensors that the outputs of `op` depend on: its inputs, and those that a forward loop pushes on a stack."""
    sources = list(op.inputs)
    if op.type == 'StackV2':
        readers = list(op.outputs[0].consumers())
        readers += [reader for enter in readers if enter.type == 'Enter' for reader in enter.outputs[0].consumers()]
        sources += [reader.inputs[1] for reader in readers if reader.type == 'StackPushV2']
    return sources


def check_outside_control_flow(call: GradientCall) -> None:
    """Raises a QuantizeError if tf.gradients was called inside a tf.cond or tf.while_loop."""
    if any(tf_internal.is_in_control_flow(seed.op) for seed in call.seeds):
        raise errors.QuantizeError(
            errors.UNSUPPORTED_GRAPH, 'Control flow',
            'The gradients below {!r} were made inside a tf.cond or tf.while_loop. Make them outside and only apply them '
            'there, or call CreateQuantizeTrainingGraph in the model function before the optimizer.'.format(call.scope))
