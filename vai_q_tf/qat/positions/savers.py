"""What a tf.train.Saver saves of a rewritten graph: with a list of variables, too, the positions and averages."""
import functools
import weakref
from collections.abc import Iterable

import tensorflow.compat.v1 as tf

from vai_q_tf.graph.dependence import reach
from vai_q_tf.qat.positions.position_saveable import VOTES_KEY, PositionSaveable
from vai_q_tf.qat.positions.self_restoring import SelfRestoring

_CURE = ('Make it after the graph is quantized, without a list of variables or with tf.get_collection('
         'tf.GraphKeys.SAVEABLE_OBJECTS) added to the list.')
_WARNED: 'weakref.WeakSet[tf.Graph]' = weakref.WeakSet()  # graphs
_LOOKED_AT: 'weakref.WeakSet[tf.train.Saver]' = weakref.WeakSet()  # Savers that saved something


def warn_of_earlier_savers(graph):
    """Warns of a Saver in a float graph that is about to be rewritten for training."""
    saving = next(iter(_saving_ops(graph.get_operations())), None)
    if saving is not None:
        tf.logging.warning(
            'A tf.train.Saver was made before the graph is quantized (node %r). If it saves the checkpoints of this '
            'training, they will have no quantize positions; make it with defer_build=True.', saving.name)


def warn_of_missing_positions(graph, saver=None):
    """Warns once where a tf.train.Saver of a training graph, or without one all of them, will not save the positions."""
    if graph in _WARNED:
        return
    definition = saver and saver.as_saver_def()
    if definition:
        operations = reach([graph.get_tensor_by_name(definition.save_tensor_name).op], lambda op: [] if _saving_ops([op]) else [
            tensor.op for tensor in op.inputs] + op.control_inputs)
    else:
        operations = graph.get_operations()
    saving = _saving_ops(operations)
    if saving and not any(VOTES_KEY.encode() in tf.get_static_value(op.inputs[1]) for op in saving):
        _WARNED.add(graph)
        tf.logging.warning(
            'The checkpoints of this training will have no quantize positions, so they cannot be deployed: the tf.train.Saver '
            'of node %r does not save %s. %s', saving[0].name, VOTES_KEY, _CURE)


def _saving_ops(operations):
    return [op for op in operations if op.type in ('Save', 'SaveSlices', 'SaveV2')]


def _with_positions(variables):
    """The list or dict of variables that a Saver of the default graph is given, with what else belongs to a training.

    A list that lacks variables of the network, as one for weights that were trained before, stays as it is.
    """
    graph = tf.get_default_graph()
    kept = _kept(graph)
    if not kept or not isinstance(variables, Iterable):
        return variables
    variables = variables if isinstance(variables, dict) else list(variables)
    given = variables.values() if isinstance(variables, dict) else variables
    names = _names(given)
    network = graph.get_collection(tf.GraphKeys.TRAINABLE_VARIABLES) or graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES)
    if not names.issuperset(_names(network)):
        return variables
    lacking = [found for found in kept if found not in given]
    if isinstance(variables, dict):
        return {**variables, **{found.name: found for found in lacking}}
    return variables + lacking


def _kept(graph):
    """The saveable objects of a graph that is rewritten."""
    return [found for found in graph.get_collection(tf.GraphKeys.SAVEABLE_OBJECTS) if isinstance(found, SelfRestoring)]


def _names(variables):
    """The names of the ops of variables, whose parts may be lists."""
    names = set()
    for variable in variables:
        if hasattr(variable, 'op'):
            names.add(variable.op.name)
        elif isinstance(variable, Iterable):
            names |= _names(variable)
    return names


_initialise, _save = tf.train.Saver.__init__, tf.train.Saver.save


@functools.wraps(_initialise)
def _initialise_with_positions(self, var_list=None, *args, **kwargs):
    _initialise(self, _with_positions(var_list), *args, **kwargs)


@functools.wraps(_save)
def _save_or_warn(self, sess, *args, **kwargs):
    if self not in _LOOKED_AT:
        _LOOKED_AT.add(self)
        if any(isinstance(found, PositionSaveable) and found.is_of_training for found in _kept(sess.graph)):
            warn_of_missing_positions(sess.graph, self)
    return _save(self, sess, *args, **kwargs)


# Scripts give their Saver a list of variables for the sake of what it leaves out, and positions are no variables.
tf.train.Saver.__init__ = _initialise_with_positions
# Ways to train without a hook save before the first step as well.
tf.train.Saver.save = _save_or_warn
