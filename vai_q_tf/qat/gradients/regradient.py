"""Gives a training graph that has its gradients already those of the quantized network instead.

What TensorFlow's optimizers, clipping, scaling and accumulation read of a call of tf.gradients is the gradient of a variable.
`Gradients` differentiates the float network a second time to see which tensor that is: the one that is computed alike. Once
the network is rewritten it is differentiated again, and what read the old gradient of a variable reads the new one. The old
gradients are then read by nothing, so they no longer run.
"""
from typing import Dict, List, NamedTuple, Optional, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf import errors, tf_internal
from vai_q_tf.graph import live_editor
from vai_q_tf.graph.dependence import reach
from vai_q_tf.graph.view import VARIABLE_OPS
from vai_q_tf.qat.gradients import backward
from vai_q_tf.qat.gradients.range_loss import RangeLoss

ALTERNATIVES = ('Call CreateQuantizeTrainingGraph in the model function before the optimizer, or use QuantizeOptimizer or '
                'quantize_model_fn.')


class _Parameter(NamedTuple):
    """A variable whose gradient is read.

    tensor: what is differentiated by, the reference or the handle of the variable.
    readers: for each tensor of the gradient (three for tf.IndexedSlices) the inputs that read it, as (node, index).
    waiting: for each of them the ops that wait for the one that makes it, as (waiting op, op waited for).
    """
    tensor: tf.Tensor
    readers: Tuple[List[Tuple[str, int]], ...]
    waiting: Tuple[List[Tuple[tf.Operation, tf.Operation]], ...]


class _Derivative(NamedTuple):
    """A call of tf.gradients to be repeated, its parameters, with which options, and what is added to its loss."""
    call: backward.GradientCall
    parameters: List[_Parameter]
    options: Dict[str, bool]
    term: Optional[tf.Tensor] = None


class Gradients:
    """All gradients in a live graph.

    Args:
      graph: the tf.Graph. Nothing that is there is changed, but ops that nothing reads are added.

    Attributes:
      excluded: names of the ops that are no part of the network to rewrite: gradients and all that waits for them.
    """

    def __init__(self, graph):
        self._graph = graph
        self._calls = backward.find_calls(graph)
        self._derivatives = []
        self.excluded = backward.downstream(self._calls)
        self._term = None

    def add(self, term):
        """Adds the scalar tf.Tensor `term` to the loss that trains what will be quantized; call it before `match`."""
        self._term = term

    def match(self, nodes):
        """Finds which gradients belong to which variables.

        Args:
          nodes: names of the nodes that will be quantized.

        Raises:
          QuantizeError: GRAPH_HAS_GRADIENTS naming a variable whose gradient cannot be found, or where none is;
            UNSUPPORTED_GRAPH where it is not evident which loss a term is to be added to.
        """
        nodes = frozenset(nodes)
        calls = [(call, upstream) for call, upstream in ((call, _upstream(call.ys)) for call in self._calls)
                 if nodes.intersection(op.name for op in upstream)]
        if not calls:
            raise errors.QuantizeError(
                errors.GRAPH_HAS_GRADIENTS, 'No gradients',
                'The graph has no gradients of the network that tf.gradients has made, as the optimizers of tf.train do. '
                + ALTERNATIVES)
        start = len(self._graph.get_operations())
        repeated = [self._repeat(call, upstream) for call, upstream in calls]
        self.excluded |= frozenset(op.name for op in self._graph.get_operations()[start:])
        numbering = backward.Numbering(self._graph)
        for (call, _), (variables, gradients, operations) in zip(calls, repeated):
            self._match_call(call, list(zip(variables, gradients)), numbering, numbering(operations), nodes)
        if self._term is not None:
            self._place_term(nodes)

    def _place_term(self, nodes):
        loss = RangeLoss(name for name in nodes if self._graph.get_operation_by_name(name).type in VARIABLE_OPS)
        for number, (call, parameters, options, _) in enumerate(self._derivatives):
            # What is differentiated is known by copies.
            losses = [copy.op.inputs[0] for copy in call.ys]
            if loss.trains(losses, call.seeds, [parameter.tensor.op.name for parameter in parameters]):
                self._derivatives[number] = _Derivative(call, parameters, options, self._term)
        loss.require_found()

    def _repeat(self, call, upstream):
        """(variables, their gradients, the ops that were made for them) of the call, made once more."""
        backward.check_outside_control_flow(call)
        variables = [op.outputs[0] for op in upstream if op.type in VARIABLE_OPS
                     and tf.as_dtype(op.get_attr('dtype')).is_floating]
        start = len(self._graph.get_operations())
        try:
            gradients = _differentiate(self._graph, call, variables)
        except LookupError as error:
            raise _unmatched('of {!r} cannot be made again: {}'.format(call.scope, error)) from error
        found = [(variable, gradient) for variable, gradient in zip(variables, gradients) if gradient is not None]
        return [pair[0] for pair in found], [pair[1] for pair in found], self._graph.get_operations()[start:]

    def _match_call(self, call, gradients, numbering, new, nodes):
        seeds = {seed.op.name for seed in call.seeds}
        operations = [op for op in call.operations if op.name not in seeds]
        old = numbering(operations)
        readers, waiting = _reads(operations, call.members, old)
        parameters, owners = [], {}
        for variable, gradient in gradients:
            tensors = _tensors(gradient)
            numbers = [new.get((tensor.op.name, tensor.value_index)) for tensor in tensors]
            if not any(number in readers or number in waiting for number in numbers):
                continue
            for number, tensor in zip(numbers, tensors):
                owners.setdefault(number, []).append((variable.op.name, tensor))
            parameters.append(_Parameter(variable, tuple(readers.get(number, []) for number in numbers),
                                         tuple(waiting.get(number, []) for number in numbers)))
        known = {pair for number in owners for pair in waiting.get(number, [])}
        lost = [inputs[0][0] for number, inputs in readers.items() if number not in owners]
        lost += [waiter.name for pairs in waiting.values() for waiter, op in pairs if (waiter, op) not in known]
        if lost:
            raise _unmatched('that node {!r} reads was not found{}'.format(lost[0], self._goal(lost[0])))
        for number in owners:
            names = sorted({name for name, _ in owners[number]})
            different = any(tensor is not owners[number][0][1] for _, tensor in owners[number])
            if len(names) > 1 and (different or nodes.intersection(names)):
                raise _unmatched('of the variables {} is computed alike, and may differ when they are quantized'.format(
                    ' and '.join(map(repr, names))))
        options = dict(
            gate_gradients=any('/tuple/control_dependency' in op.name for op in operations),
            colocate_gradients_with_ops=all('_class' in numbering.nodes[op.name].attr for op in operations
                                            if tf_internal.forward_op(op) is not None))
        if parameters:
            self._derivatives.append(_Derivative(call, parameters, options))

    def _goal(self, reader):
        """'; it is for variable ...' with the first variable that what `reader` makes of the gradient changes."""
        stack, seen = [self._graph.get_operation_by_name(reader)], set()
        while stack:
            op = stack.pop(0)
            for tensor in op.inputs:
                if tensor.op.type in VARIABLE_OPS:
                    return '; it is for the variable {!r}'.format(tensor.op.name)
            for output in op.outputs:
                stack.extend(consumer for consumer in output.consumers() if consumer not in seen)
                seen.update(output.consumers())
        return ''

    def renew(self):
        """Makes what read a gradient read that of the network as it is now; call it when the network is rewritten."""
        for call, parameters, options, term in self._derivatives:
            variables = [parameter.tensor for parameter in parameters]
            gradients = _differentiate(self._graph, call, variables, term, unconnected_gradients='zero', **options)
            waits = {}
            for parameter, gradient in zip(parameters, gradients):
                tensors = _tensors(gradient)
                if len(tensors) != len(parameter.readers):
                    raise _unmatched('of the variable {!r} is sparse only before it is quantized'.format(
                        parameter.tensor.op.name))
                for tensor, readers, waiting in zip(tensors, parameter.readers, parameter.waiting):
                    live_editor.reroute(self._graph, readers, tensor)
                    for waiter, old in waiting:
                        was, now = waits.setdefault(waiter, (set(), set()))
                        was.add(old)
                        now.add(tensor.op)
            for waiter, (was, now) in waits.items():
                live_editor.replace_control_inputs(waiter, was, now)


def _differentiate(graph, call, variables, term=None, **options):
    # The gradients of loops find those that belong together by the beginning of this name.
    with live_editor.with_placement_of(graph, call.seeds[0]):
        ys, seeds = list(call.ys), list(call.seeds)
        if term is not None:
            ys.append(tf.cast(term, seeds[0].dtype))
            seeds.append(seeds[0])
        return tf.gradients(ys, variables, grad_ys=seeds, name='vai_q_tf/gradients', **options)


def _tensors(gradient):
    if isinstance(gradient, tf.IndexedSlices):
        return [tensor for tensor in (gradient.values, gradient.indices, gradient.dense_shape) if tensor is not None]
    return [gradient]


def _upstream(tensors):
    """The ops that `tensors` depend on through data, in the order of creation."""
    found = reach([tensor.op for tensor in tensors], lambda op: [tensor.op for tensor in op.inputs])
    return sorted(found, key=tf_internal.creation_number)


def _reads(operations, members, numbers):
    """What else than `members` reads the outputs of `operations` ({number: [(node, input index)]}), and what waits for them.

    The latter is {number: [(waiting op, op waited for)]}.
    """
    readers, waiting = {}, {}
    for op in operations:
        for output in op.outputs:
            outside = [(node, index) for node, index in live_editor.consumers(output) if node not in members]
            if outside:
                readers.setdefault(numbers[op.name, output.value_index], []).extend(outside)
        for waiter in tf_internal.waiting_ops(op):
            if waiter.name not in members:
                for number in {numbers[op.name, index] for index in range(len(op.outputs))} or {None}:
                    waiting.setdefault(number, []).append((waiter, op))
    return readers, waiting


def _unmatched(what):
    return errors.QuantizeError(
        errors.GRAPH_HAS_GRADIENTS, 'Cannot match',
        'The graph already has gradients, and the gradient {}. {}'.format(what, ALTERNATIVES))
