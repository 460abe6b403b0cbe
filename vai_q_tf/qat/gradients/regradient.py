"""Replaces the gradients in a training graph by those of the quantized network.

Optimizers, clipping, scaling and accumulation read gradients of variables from a call of tf.gradients. `Gradients`
differentiates the float network a second time to find out which tensors these are: those with equal computations. Once the
network is rewritten it is differentiated again, and readers of the old gradient of a variable read the new one. No op reads the
old gradients any more, so they do not run.
"""
from typing import Collection, Dict, FrozenSet, Iterable, List, NamedTuple, Optional, Sequence, Set, Tuple, Union

import tensorflow.compat.v1 as tf

from vai_q_tf import errors, tf_internal
from vai_q_tf.graph import live_editor
from vai_q_tf.graph.dependence import reach
from vai_q_tf.graph.view import VARIABLE_OPS
from vai_q_tf.qat.gradients import backward
from vai_q_tf.qat.gradients.range_loss import RangeLoss
from vai_q_tf.types import NodeInput

ALTERNATIVES = ('Call CreateQuantizeTrainingGraph in the model function before the optimizer, or use QuantizeOptimizer or '
                'quantize_model_fn.')

Gradient = Union[tf.Tensor, tf.IndexedSlices]


class _Wait(NamedTuple):
    """An op that has another one as a control input."""
    waiter: tf.Operation
    awaited: tf.Operation


class _Parameter(NamedTuple):
    """A variable whose gradient is read.

    tensor: the tensor to differentiate with respect to, the reference or the handle of the variable.
    readers: the inputs that read each tensor of the gradient (three for tf.IndexedSlices).
    waiting: the ops that wait for the op of each of them.
    """
    tensor: tf.Tensor
    readers: Tuple[List[NodeInput], ...]
    waiting: Tuple[List[_Wait], ...]


class _Derivative(NamedTuple):
    """A call of tf.gradients to repeat: its parameters, its options, and the term to add to its loss."""
    call: backward.GradientCall
    parameters: List[_Parameter]
    options: Dict[str, bool]
    term: Optional[tf.Tensor] = None


class _Repetition(NamedTuple):
    """A repeated call of tf.gradients: (variable, its gradient), and the new ops."""
    call: backward.GradientCall
    gradients: List[Tuple[tf.Tensor, Gradient]]
    operations: List[tf.Operation]


class _Uses(NamedTuple):
    """Uses of gradients outside their call of tf.gradients, by the number of the gradient; see backward.Numbering."""
    readers: Dict[Optional[int], List[NodeInput]]
    waiting: Dict[Optional[int], List[_Wait]]


# {number of a gradient: [(name of its variable, a tensor of the repeated gradient)]}
_Owners = Dict[Optional[int], List[Tuple[str, tf.Tensor]]]


class Gradients:
    """All gradients in a live graph.

    Args:
      graph: the tf.Graph. Nothing in it is changed, but ops that no other op reads are added.

    Attributes:
      excluded: names of the ops outside the network to rewrite: gradients and all ops that depend on them.
    """

    def __init__(self, graph: tf.Graph) -> None:
        self._graph = graph
        self._calls = backward.find_calls(graph)
        self._derivatives: List[_Derivative] = []
        self.excluded = backward.downstream(self._calls)
        self._term: Optional[tf.Tensor] = None

    def add(self, term: tf.Tensor) -> None:
        """Adds the scalar `term` to the loss that trains the quantized network; call it before `match`."""
        self._term = term

    def match(self, nodes: Iterable[str]) -> None:
        """Finds out which gradients belong to which variables.

        Args:
          nodes: names of the nodes that will be quantized.

        Raises:
          QuantizeError: GRAPH_HAS_GRADIENTS naming a variable whose gradient cannot be found, or if there is no gradient;
            UNSUPPORTED_GRAPH if it is not evident to which loss the term has to be added.
        """
        nodes = frozenset(nodes)
        start = len(self._graph.get_operations())
        repetitions = [self._repeat(call, upstream) for call, upstream in self._calls_of(nodes)]
        self.excluded |= frozenset(op.name for op in self._graph.get_operations()[start:])
        numbering = backward.Numbering(self._graph)
        for repetition in repetitions:
            self._match_call(repetition, numbering, nodes)
        if self._term is not None:
            self._place_term(nodes)

    def _calls_of(self, nodes: FrozenSet[str]) -> List[Tuple[backward.GradientCall, List[tf.Operation]]]:
        """[(a call that differentiates through any of the nodes, the ops upstream of what it differentiates)]."""
        calls = [(call, upstream) for call, upstream in ((call, _upstream(call.ys)) for call in self._calls)
                 if nodes.intersection(op.name for op in upstream)]
        if not calls:
            raise errors.QuantizeError(
                errors.GRAPH_HAS_GRADIENTS, 'No gradients',
                'The graph has no gradients of the network that tf.gradients has made, as the optimizers of tf.train do. '
                + ALTERNATIVES)
        return calls

    def _place_term(self, nodes: FrozenSet[str]) -> None:
        loss = RangeLoss(name for name in nodes if self._graph.get_operation_by_name(name).type in VARIABLE_OPS)
        for number, derivative in enumerate(self._derivatives):
            losses = [copy.op.inputs[0] for copy in derivative.call.ys]
            variables = [parameter.tensor.op.name for parameter in derivative.parameters]
            if loss.trains(losses, derivative.call.seeds, variables):
                self._derivatives[number] = derivative._replace(term=self._term)
        loss.require_found()

    def _repeat(self, call: backward.GradientCall, upstream: Sequence[tf.Operation]) -> _Repetition:
        backward.check_outside_control_flow(call)
        variables = [op.outputs[0] for op in upstream if op.type in VARIABLE_OPS
                     and tf.as_dtype(op.get_attr('dtype')).is_floating]
        start = len(self._graph.get_operations())
        try:
            gradients = _differentiate(self._graph, call, variables)
        except LookupError as error:
            raise _unmatched('of {!r} cannot be made again: {}'.format(call.scope, error)) from error
        found = [(variable, gradient) for variable, gradient in zip(variables, gradients) if gradient is not None]
        return _Repetition(call, found, self._graph.get_operations()[start:])

    def _match_call(self, repetition: _Repetition, numbering: backward.Numbering, nodes: FrozenSet[str]) -> None:
        """Adds the _Derivative of a call, given its repetition."""
        call, new = repetition.call, numbering(repetition.operations)
        seeds = {seed.op.name for seed in call.seeds}
        operations = [op for op in call.operations if op.name not in seeds]
        uses = _uses(operations, call.members, numbering(operations))
        parameters: List[_Parameter] = []
        owners: _Owners = {}
        for variable, gradient in repetition.gradients:
            tensors = _tensors(gradient)
            numbers = [new.get((tensor.op.name, tensor.value_index)) for tensor in tensors]
            if not any(number in uses.readers or number in uses.waiting for number in numbers):
                continue
            for number, tensor in zip(numbers, tensors):
                owners.setdefault(number, []).append((variable.op.name, tensor))
            parameters.append(_Parameter(variable, tuple(uses.readers.get(number, []) for number in numbers),
                                         tuple(uses.waiting.get(number, []) for number in numbers)))
        self._check_found(uses, owners)
        _check_distinct(owners, nodes)
        if parameters:
            self._derivatives.append(_Derivative(call, parameters, _options(operations, numbering)))

    def _check_found(self, uses: _Uses, owners: _Owners) -> None:
        """Raises a QuantizeError if a used gradient belongs to no variable."""
        known = {wait for number in owners for wait in uses.waiting.get(number, [])}
        lost = [inputs[0][0] for number, inputs in uses.readers.items() if number not in owners]
        lost += [wait.waiter.name for waits in uses.waiting.values() for wait in waits if wait not in known]
        if lost:
            raise _unmatched('that node {!r} reads was not found{}'.format(lost[0], self._goal(lost[0])))

    def _goal(self, reader: str) -> str:
        """'; it is for variable ...' with the first variable that changes by the gradient that `reader` reads."""
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

    def renew(self) -> None:
        """Makes readers of a gradient read that of the current network; call it once the network is rewritten."""
        for derivative in self._derivatives:
            parameters = derivative.parameters
            gradients = _differentiate(
                self._graph, derivative.call, [parameter.tensor for parameter in parameters], derivative.term,
                unconnected_gradients='zero', **derivative.options)
            self._reroute(parameters, gradients)

    def _reroute(self, parameters: Sequence[_Parameter], gradients: Sequence[Gradient]) -> None:
        waits: Dict[tf.Operation, Tuple[Set[tf.Operation], Set[tf.Operation]]] = {}  # {waiter: (old ops, new ops)}
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


def _check_distinct(owners: _Owners, nodes: FrozenSet[str]) -> None:
    """Raises a QuantizeError if variables have one gradient now and may have different ones once `nodes` are quantized."""
    for owned in owners.values():
        names = sorted({name for name, _ in owned})
        different = any(tensor is not owned[0][1] for _, tensor in owned)
        if len(names) > 1 and (different or nodes.intersection(names)):
            raise _unmatched('of the variables {} is computed alike, and may differ when they are quantized'.format(
                ' and '.join(map(repr, names))))


def _options(operations: Sequence[tf.Operation], numbering: backward.Numbering) -> Dict[str, bool]:
    """The options with which tf.gradients created the ops."""
    return dict(
        gate_gradients=any('/tuple/control_dependency' in op.name for op in operations),
        colocate_gradients_with_ops=all('_class' in numbering.nodes[op.name].attr for op in operations
                                        if tf_internal.forward_op(op) is not None))


def _differentiate(graph: tf.Graph, call: backward.GradientCall, variables: Sequence[tf.Tensor],
                   term: Optional[tf.Tensor] = None, **options: Union[bool, str]) -> List[Optional[Gradient]]:
    # TensorFlow finds the gradients of a loop that belong together by the beginning of this name.
    with live_editor.with_placement_of(graph, call.seeds[0]):
        ys, seeds = list(call.ys), list(call.seeds)
        if term is not None:
            ys.append(tf.cast(term, seeds[0].dtype))
            seeds.append(seeds[0])
        return tf.gradients(ys, variables, grad_ys=seeds, name='vai_q_tf/gradients', **options)


def _tensors(gradient: Gradient) -> List[tf.Tensor]:
    if isinstance(gradient, tf.IndexedSlices):
        return [tensor for tensor in (gradient.values, gradient.indices, gradient.dense_shape) if tensor is not None]
    return [gradient]


def _upstream(tensors: Iterable[tf.Tensor]) -> List[tf.Operation]:
    """The ops that `tensors` depend on through data, in the order of creation."""
    found = reach([tensor.op for tensor in tensors], lambda op: [tensor.op for tensor in op.inputs])
    return sorted(found, key=tf_internal.creation_number)


def _uses(operations: Sequence[tf.Operation], members: Collection[str], numbers: backward.Numbers) -> _Uses:
    """The _Uses of `operations` by other ops than `members`."""
    uses = _Uses({}, {})
    for op in operations:
        for output in op.outputs:
            outside = [(node, index) for node, index in live_editor.consumers(output) if node not in members]
            if outside:
                uses.readers.setdefault(numbers[op.name, output.value_index], []).extend(outside)
        for waiter in tf_internal.waiting_ops(op):
            if waiter.name not in members:
                ends: Set[Optional[int]] = {numbers[op.name, index] for index in range(len(op.outputs))}
                for number in ends or {None}:
                    uses.waiting.setdefault(number, []).append(_Wait(waiter, op))
    return uses


def _unmatched(what: str) -> errors.QuantizeError:
    return errors.QuantizeError(
        errors.GRAPH_HAS_GRADIENTS, 'Cannot match',
        'The graph already has gradients, and the gradient {}. {}'.format(what, ALTERNATIVES))
