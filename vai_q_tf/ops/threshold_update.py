"""The update of a learned position, which the backward pass of the quantizing ops takes along.

A quantizing op whose position comes from `learned_position` gives, with its own gradient, that to the threshold. All such
gradients of one row meet in one update, for which the gradient waits that is forwarded last, so whatever trains the network
updates the row once. Copies of a network are differentiated by one call of tf.gradients, or each by one. A tensor that is
differentiated a second time is that of another update.
"""
import weakref
from typing import Dict, List, MutableMapping, NamedTuple, Set, Tuple

import tensorflow as tf

from vai_q_tf import tf_internal
from vai_q_tf.ops.learned_position import learn_position

_MARK = 'VaiLearnedPosition'


class _Term(NamedTuple):
    """Names: of a gradient to a threshold, of the op that quantizes, of the scope of the call of tf.gradients."""
    gradient: str
    op: str
    call: str


class _Update(NamedTuple):
    """The name of the op, and what it adds up."""
    op: str
    terms: Tuple[_Term, ...]


class _Made(NamedTuple):
    """What a graph has. Names only, for ops would keep the graph alive.

    updates: by handle of the table, row and control flow context, in the order in which they were begun.
    covered: {call: the ops that it differentiated, of those that each copy of the network has for itself}.
    """
    updates: Dict[tuple, List[_Update]]
    covered: Dict[str, Set[str]]


_MADE: MutableMapping[tf.Graph, _Made] = weakref.WeakKeyDictionary()


def take_along(op, position, to_threshold, forwarded):
    """Makes the forwarded gradients run the update of the threshold, if the position is learned.

    Args:
      op: the tf.Operation that quantizes, whose gradient function calls this.
      position: its input with the position.
      to_threshold: function of the bool tf.Tensor `learning` to the gradient to its threshold.
      forwarded: list of tf.Tensors, gradients to its other inputs.

    Returns:
      the gradients to forward instead.
    """
    mark = _source(position)
    if mark.type != _MARK:
        return forwarded
    gradient = to_threshold(mark.inputs[3])
    update = _update(op, mark, gradient)
    # An optimizer changes a variable in the place that is read here, so the gradient waits, too, where the update does not.
    with tf.control_dependencies([gradient, update]):
        return [tf.identity(tensor) for tensor in forwarded]


def _update(op, mark, gradient):
    """The op of the update that the gradient belongs to; what waited for it without this gradient no longer does."""
    graph, row = op.graph, mark.get_attr('row')
    made = _MADE.setdefault(graph, _Made({}, {}))
    marks = [reader for reader in mark.inputs[0].consumers() if reader.type == _MARK and reader.get_attr('row') == row]
    term = _Term(gradient.name, op.name, _call(op))
    if len(marks) > 1:
        made.covered.setdefault(term.call, set()).add(op.name)
    updates = made.updates.setdefault((mark.inputs[0].name, row, tf_internal.control_flow_context_name(graph)), [])
    number = min(_number(term, updates, made.covered, len(marks), mark.get_attr('networks')), len(updates))
    earlier = updates[number:number + 1]
    terms = tuple(found for update in earlier for found in update.terms) + (term,)
    with graph.colocate_with(mark, ignore_existing=True), tf.control_dependencies(marks):
        update = learn_position(
            mark.inputs[0], mark.inputs[3], [graph.get_tensor_by_name(found.gradient) for found in terms],
            mark.get_attr('rows'), row, mark.get_attr('members'))
    for replaced in earlier:
        before = graph.get_operation_by_name(replaced.op)
        for waiter in tf_internal.waiting_ops(before):
            tf_internal.set_control_inputs(waiter, [waited for waited in waiter.control_inputs if waited is not before])
    updates[number:number + 1] = [_Update(update.name, terms)]
    return update


def _number(term, updates, covered, marks, networks):
    """How many updates come before that of the term: one for each call before that differentiated the same copy of its op."""
    before = [found for update in updates for found in update.terms if found.op == term.op]
    if marks > 1 or networks == 1:
        return len(before)
    # All copies have one op for it, as for the weights.
    own = covered.get(term.call)
    if not own:
        return len(before) // networks
    return sum(bool(own & covered.get(found.call, set())) for found in before)


def _call(op):
    """The name scope of the call of tf.gradients that calls the gradient function of an op."""
    scope = op.graph.get_name_scope()
    return scope[:scope.rfind('/' + op.name + '_grad')]


def _source(tensor):
    """The op that makes a position, before any Identity ops."""
    op = tensor.op
    while op.type == 'Identity':
        op = op.inputs[0].op
    return op
