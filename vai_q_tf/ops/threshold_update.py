"""The update of a learned position, run by the backward pass of the quantizing ops.

A quantizing op whose position comes from `learned_position` has a gradient with respect to the threshold besides its own. The
gradients to the threshold of one row are summed by one update, which the forwarded gradient that is made last waits for, so
that any training of the network updates the row once. Copies of a network are differentiated by one call of tf.gradients, or
by one call each. If a tensor is differentiated a second time, its gradient belongs to another update.
"""
import weakref
from typing import Callable, Dict, List, MutableMapping, NamedTuple, Sequence, Set, Tuple

import tensorflow as tf

from vai_q_tf import tf_internal
from vai_q_tf.ops.learned_position import learn_position

_MARK = 'VaiLearnedPosition'


class _Term(NamedTuple):
    """The names of a gradient to a threshold, of the quantizing op, and of the scope of the call of tf.gradients."""
    gradient: str
    op: str
    call: str


class _Update(NamedTuple):
    """The name of an op `learn_position`, and the terms of its sum."""
    op: str
    terms: Tuple[_Term, ...]


class _Made(NamedTuple):
    """The updates of a graph. Names only: tf.Operations would keep the graph alive.

    updates: by handle of the table, row and control flow context, in the order in which they were begun.
    covered: {call: the quantizing ops that it differentiated, of those that each copy of the network has}.
    """
    updates: Dict[Tuple[str, int, str], List[_Update]]
    covered: Dict[str, Set[str]]


_MADE: MutableMapping[tf.Graph, _Made] = weakref.WeakKeyDictionary()


def take_along(op: tf.Operation, position: tf.Tensor, to_threshold: Callable[[tf.Tensor], tf.Tensor],
               forwarded: List[tf.Tensor]) -> List[tf.Tensor]:
    """Makes the forwarded gradients run the update of the threshold, if the position is learned.

    Args:
      op: the quantizing op, whose gradient function calls this.
      position: its input with the position.
      to_threshold: function from the bool tensor `learning` to the gradient to the threshold.
      forwarded: the gradients to its other inputs.

    Returns:
      The gradients to forward instead.
    """
    mark = _source(position)
    if mark.type != _MARK:
        return forwarded
    gradient = to_threshold(mark.inputs[3])
    update = _update(op, mark, gradient)
    # An optimizer changes variables in place that `gradient` reads, so the forwarded gradients wait for it even if a later
    # update replaces this one.
    with tf.control_dependencies([gradient, update]):
        return [tf.identity(tensor) for tensor in forwarded]


def _update(op: tf.Operation, mark: tf.Operation, gradient: tf.Tensor) -> tf.Operation:
    """The update whose sum has the gradient as its last term. It replaces the update without this term, if there is one."""
    made, marks = _MADE.setdefault(op.graph, _Made({}, {})), _marks_of_row(mark)
    term = _Term(gradient.name, op.name, _call(op))
    if len(marks) > 1:
        made.covered.setdefault(term.call, set()).add(op.name)
    context = tf_internal.control_flow_context_name(op.graph)
    updates = made.updates.setdefault((mark.inputs[0].name, mark.get_attr('row'), context), [])
    number = min(_number(term, updates, made.covered, len(marks), mark.get_attr('networks')), len(updates))
    earlier = updates[number:number + 1]
    terms = tuple(found for update in earlier for found in update.terms) + (term,)
    update = _learn(mark, marks, terms)
    for replaced in earlier:
        _release(op.graph.get_operation_by_name(replaced.op))
    updates[number:number + 1] = [_Update(update.name, terms)]
    return update


def _marks_of_row(mark: tf.Operation) -> List[tf.Operation]:
    """The ops `learned_position` of the same row: one for each copy of the network."""
    return [reader for reader in mark.inputs[0].consumers()
            if reader.type == _MARK and reader.get_attr('row') == mark.get_attr('row')]


def _learn(mark: tf.Operation, marks: Sequence[tf.Operation], terms: Sequence[_Term]) -> tf.Operation:
    """A new update by the sum of the terms, run after all positions of the row have been read."""
    graph = mark.graph
    with graph.colocate_with(mark, ignore_existing=True), tf.control_dependencies(marks):
        return learn_position(
            mark.inputs[0], mark.inputs[3], [graph.get_tensor_by_name(term.gradient) for term in terms],
            mark.get_attr('rows'), mark.get_attr('row'), mark.get_attr('members'))


def _release(update: tf.Operation) -> None:
    """Removes an op from the control inputs of all ops that wait for it."""
    for waiter in tf_internal.waiting_ops(update):
        tf_internal.set_control_inputs(waiter, [waited for waited in waiter.control_inputs if waited is not update])


def _number(term: _Term, updates: Sequence[_Update], covered: Dict[str, Set[str]], marks: int, networks: int) -> int:
    """How many updates precede that of the term: one for each earlier call that differentiated the same copy of its op."""
    before = [found for update in updates for found in update.terms if found.op == term.op]
    if marks > 1 or networks == 1:
        return len(before)
    # All copies share the op, as they do for weights.
    own = covered.get(term.call)
    if not own:
        return len(before) // networks
    return sum(bool(own & covered.get(found.call, set())) for found in before)


def _call(op: tf.Operation) -> str:
    """The name scope of the call of tf.gradients that is calling the gradient function of an op."""
    scope = op.graph.get_name_scope()
    return scope[:scope.rfind('/' + op.name + '_grad')]


def _source(tensor: tf.Tensor) -> tf.Operation:
    """The op that computes a position, upstream of Identity ops."""
    op = tensor.op
    while op.type == 'Identity':
        op = op.inputs[0].op
    return op
