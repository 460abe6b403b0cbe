"""Makes every tf.train.Saver of a rewritten graph save positions and averages, even one with a list of variables."""
import functools
import weakref
from typing import Any, Iterable, List, Optional, Set

import tensorflow.compat.v1 as tf

from vai_q_tf import tf_internal
from vai_q_tf.graph.dependence import reach
from vai_q_tf.qat.positions.position_saveable import VOTES_KEY, PositionSaveable
from vai_q_tf.qat.positions.self_restoring import SelfRestoring

_CURE = ('Make it after the graph is quantized, without a list of variables or with tf.get_collection('
         'tf.GraphKeys.SAVEABLE_OBJECTS) added to the list.')
_WARNED: 'weakref.WeakSet[tf.Graph]' = weakref.WeakSet()
_CHECKED: 'weakref.WeakSet[tf.train.Saver]' = weakref.WeakSet()


def warn_of_earlier_savers(graph: tf.Graph) -> None:
    """Warns of a Saver that a float graph has before it is rewritten for training."""
    saving = next(iter(_saving_ops(graph.get_operations())), None)
    if saving is not None:
        tf.logging.warning(
            'A tf.train.Saver was made before the graph is quantized (node %r). If it saves the checkpoints of this '
            'training, they will have no quantize positions; make it with defer_build=True.', saving.name)


def warn_of_missing_positions(graph: tf.Graph, saver: Optional[tf.train.Saver] = None) -> None:
    """Warns once per training graph if a Saver does not save the positions, or, without one, if no Saver of the graph does."""
    if graph in _WARNED:
        return
    saving = _saving_ops(_ops_of(graph, saver) or graph.get_operations())
    if saving and not any(VOTES_KEY.encode() in tf.get_static_value(op.inputs[1]) for op in saving):
        _WARNED.add(graph)
        tf.logging.warning(
            'The checkpoints of this training will have no quantize positions, so they cannot be deployed: the tf.train.Saver '
            'of node %r does not save %s. %s', saving[0].name, VOTES_KEY, _CURE)


def add_positions(saver: Optional[tf.train.Saver]) -> None:
    """Makes a Saver of the default graph that was made before the graph was rewritten save what it would after that."""
    given = tf_internal.variables_of_saver(saver) if isinstance(saver, tf.train.Saver) else None
    if given is not None:
        whole = _with_positions(given)
        if len(whole) > len(given):
            tf_internal.rebuild_saver(saver, whole)


def _ops_of(graph: tf.Graph, saver: Optional[tf.train.Saver]) -> Set[tf.Operation]:
    """The ops that a Saver runs, down to the saving ones; empty if it is not built yet."""
    definition = saver and saver.as_saver_def()
    if not definition:
        return set()
    return reach([graph.get_tensor_by_name(definition.save_tensor_name).op], lambda op: [] if _saving_ops([op]) else [
        tensor.op for tensor in op.inputs] + op.control_inputs)


def _saving_ops(operations: Iterable[tf.Operation]) -> List[tf.Operation]:
    return [op for op in operations if op.type in ('Save', 'SaveSlices', 'SaveV2')]


def _with_positions(variables: Any) -> Any:
    """The list or dict of variables that a Saver of the default graph is given, plus positions and averages.

    A list that lacks variables of the network, such as one for pretrained weights, stays as it is.
    """
    graph = tf.get_default_graph()
    kept = _kept(graph)
    if not kept or not isinstance(variables, Iterable):
        return variables
    given = list(variables.values() if isinstance(variables, dict) else variables)
    network = graph.get_collection(tf.GraphKeys.TRAINABLE_VARIABLES) or graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES)
    has_network = _names(given).issuperset(_names(network))
    lacking = [found for found in kept if found not in given] if has_network else []
    if isinstance(variables, dict):
        return {**variables, **{found.name: found for found in lacking}}
    return given + lacking


def _kept(graph: tf.Graph) -> List[SelfRestoring]:
    """The saveable objects of a rewritten graph."""
    return [found for found in graph.get_collection(tf.GraphKeys.SAVEABLE_OBJECTS) if isinstance(found, SelfRestoring)]


def _names(variables: Any) -> Set[str]:
    """The names of the ops of variables; a partitioned one may be a list of its parts."""
    names: Set[str] = set()
    for variable in variables:
        if hasattr(variable, 'op'):
            names.add(variable.op.name)
        elif isinstance(variable, Iterable):
            names |= _names(variable)
    return names


_initialise, _save = tf.train.Saver.__init__, tf.train.Saver.save


@functools.wraps(_initialise)
def _initialise_with_positions(self: tf.train.Saver, var_list: Any = None, *args: Any, **kwargs: Any) -> None:
    _initialise(self, _with_positions(var_list), *args, **kwargs)


@functools.wraps(_save)
def _save_or_warn(self: tf.train.Saver, sess: tf.Session, *args: Any, **kwargs: Any) -> str:
    if self not in _CHECKED:
        _CHECKED.add(self)
        if any(isinstance(found, PositionSaveable) and found.is_of_training for found in _kept(sess.graph)):
            warn_of_missing_positions(sess.graph, self)
    return _save(self, sess, *args, **kwargs)


# Scripts give their Saver a list to leave some variables out, and positions are not variables.
tf.train.Saver.__init__ = _initialise_with_positions
# A training without hooks saves before its first step as well.
tf.train.Saver.save = _save_or_warn
