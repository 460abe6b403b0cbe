"""Evidence for whether a network has trained weights or initial values.

An initializer gives all elements of a vector (a bias, or a parameter of a batch norm) the same value; training makes them
differ. So a vector of equal elements counts as untrained. Vectors that are initialized at random give no evidence and do not
count. One that is not trainable, as in a frozen backbone, counts if it is trained; else it may be a constant of the program.
"""
from typing import Dict, NamedTuple, Tuple

import tensorflow.compat.v1 as tf

from vai_q_tf.graph import live_editor
from vai_q_tf.graph.dependence import reach
from vai_q_tf.graph.view import normalise
from vai_q_tf.qat.network.inference_form import InferenceForm

_RANDOM = ('Random', 'Multinomial', 'TruncatedNormal')
_ASSIGNS = ('Assign', 'AssignVariableOp')


class _Norm(NamedTuple):
    """A batch norm in training form: its name in messages, and the tensors of its moving averages."""
    name: str
    moving_mean: str
    moving_variance: str


class _Vector(NamedTuple):
    """Another trainable vector: its name in messages, and its tensor."""
    name: str
    tensor: str


class Evidence(NamedTuple):
    """The vectors [channels] of a live graph that show whether it was trained; fixed: the tensors of those not trainable."""
    norms: Tuple[_Norm, ...]
    vectors: Tuple[_Vector, ...]
    fixed: Tuple[str, ...]


def evidence(graph: tf.Graph, form: InferenceForm, prefix: str = '') -> Evidence:
    """The Evidence of the network in a live graph with its variables.

    Args:
      graph: the live graph.
      form: the InferenceForm of the network.
      prefix: the prefix of the names of this copy of the network.
    """
    reads = {normalise(read): variable for variable, read in form.variables.items()}
    norms = _norms(form, reads, prefix)
    averages = {name for norm in norms for name in (norm.moving_mean, norm.moving_variance)}
    trainable = {variable.op.name for variable in graph.get_collection(tf.GraphKeys.TRAINABLE_VARIABLES)}
    vectors, fixed = [], []
    for read, variable in reads.items():
        tensor = live_editor.tensor(graph, read)
        if read in averages or tensor.shape.ndims != 1 or not tensor.dtype.is_floating or _begins_at_random(graph, variable):
            continue
        if not trainable or variable in trainable or prefix + variable in trainable:
            vectors.append(_Vector(variable, read))
        else:
            fixed.append(read)
    return Evidence(norms, tuple(vectors), tuple(fixed))


def _norms(form: InferenceForm, reads: Dict[str, str], prefix: str) -> Tuple[_Norm, ...]:
    """The batch norms whose moving averages are variables; reads: {tensor that reads a variable: the variable}."""
    def live(tensor: str) -> str:
        return next((name for name in (prefix + tensor, tensor) if name in reads), '')

    found = []
    for norm in form.norms:
        mean, variance = live(norm.moving_mean), live(norm.moving_variance)
        if mean and variance:
            found.append(_Norm(reads[mean].rpartition('/')[0] or reads[mean], mean, variance))
    return tuple(found)


def _begins_at_random(graph: tf.Graph, variable: str) -> bool:
    try:
        assign = graph.get_operation_by_name(variable + '/Assign')
    except KeyError:
        return False
    if assign.type not in _ASSIGNS:
        return False
    found = reach([assign.inputs[1].op], lambda op: [tensor.op for tensor in op.inputs])
    return any(name in op.type for op in found for name in _RANDOM)
