"""What the values of a network's parameters tell of where a training starts: trained weights, or those of an initializer.

An initializer gives all elements of a vector, a bias or what a batch norm has for each channel, one value; training does not
leave them alike. So a vector whose elements are equal is taken for one that was never trained. Vectors that begin at random
tell nothing and do not count, nor do those that are not trained.
"""
from typing import NamedTuple, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf.graph import live_editor
from vai_q_tf.graph.dependence import reach
from vai_q_tf.graph.view import normalise

_RANDOM = ('Random', 'Multinomial', 'TruncatedNormal')
_ASSIGNS = ('Assign', 'AssignVariableOp')


class Evidence(NamedTuple):
    """Names of vectors [channels] of the live graph, each with the name that it is called by.

    norms: (name, moving mean, moving variance) of the batch norms in training form.
    vectors: (name, tensor) of the other trainable vectors.
    """
    norms: Tuple[Tuple[str, str, str], ...]
    vectors: Tuple[Tuple[str, str], ...]


def evidence(graph, form, prefix=''):
    """The Evidence of the network in a live graph with its variables, given its InferenceForm."""
    reads = {normalise(read): variable for variable, read in form.variables.items()}

    def live(tensor):
        return next((name for name in (prefix + tensor, tensor) if name in reads), '')

    norms = []
    for norm in form.norms:
        mean, variance = live(norm.moving_mean), live(norm.moving_variance)
        if mean and variance:
            norms.append((reads[mean].rpartition('/')[0] or reads[mean], mean, variance))
    averages = {name for _, mean, variance in norms for name in (mean, variance)}
    trained = {variable.op.name for variable in graph.get_collection(tf.GraphKeys.TRAINABLE_VARIABLES)}
    vectors = tuple(
        (variable, read) for read, variable in reads.items()
        if read not in averages and live_editor.tensor(graph, read).shape.ndims == 1
        and (not trained or variable in trained or prefix + variable in trained) and not _begins_at_random(graph, variable))
    return Evidence(tuple(norms), vectors)


def _begins_at_random(graph, variable):
    try:
        assign = graph.get_operation_by_name(variable + '/Assign')
    except KeyError:
        return False
    if assign.type not in _ASSIGNS:
        return False
    found = reach([assign.inputs[1].op], lambda op: [tensor.op for tensor in op.inputs])
    return any(name in op.type for op in found for name in _RANDOM)
