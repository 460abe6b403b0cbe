"""State that a training saves next to its variables, and that a checkpoint need not have."""
import itertools
from typing import Callable, List, Optional, Type

import tensorflow.compat.v1 as tf

from vai_q_tf import tf_internal

_KINDS: 'List[Type[SelfRestoring]]' = []


class SelfRestoring(tf_internal.SaveableObject):
    """A saveable object that reads the checkpoint itself, so that a checkpoint without its state can be restored.

    A Saver reads `specs` twice: for its save ops, and then for its restore ops, which fail if the checkpoint lacks one of
    them. The second time it gets an empty list, and `restore` reads the checkpoint itself.

    Args:
      state: the tf.Tensor with the handle of the state; a MetaGraph stores its op.
      specs: tf_internal.SaveSpecs of the tensors to save. Only this object reads the first tensor; all have its device.
    """
    state_name = ''  # name of the op of the state

    def __init__(self, state: tf.Tensor, specs: List[tf_internal.SaveSpec]) -> None:
        self._mark = specs[0].tensor
        super().__init__(state, specs, state.name)

    def __init_subclass__(cls) -> None:
        _KINDS.append(cls)

    @classmethod
    def from_node(cls, node: tf.NodeDef, import_scope: Optional[str]) -> 'SelfRestoring':
        """The saveable object of the state `node`, in the default graph, into which a MetaGraph was imported."""
        raise NotImplementedError

    @property
    def specs(self) -> List[tf_internal.SaveSpec]:
        """The SaveSpecs for the save ops of a Saver; none for its restore ops."""
        prefix = self.prefix()
        saved = prefix is not None and any(
            op.type.startswith('Save') and tf_internal.creation_number(op) > tf_internal.creation_number(prefix.op)
            for op in self._mark.consumers())
        return [] if saved else self._specs

    @specs.setter
    def specs(self, specs: List[tf_internal.SaveSpec]) -> None:
        self._specs = specs

    @property
    def device(self) -> str:
        """The device on which a sharded Saver saves this object."""
        return self._mark.device

    def prefix(self) -> Optional[tf.Tensor]:
        """The tensor with the checkpoint prefix of the Saver that is under construction; None if there is none.

        In an imported graph its name scope may have several; it is the last one.
        """
        graph, prefix = self.op.graph, None
        first = graph.get_name_scope() + '/Const'
        for number in itertools.count():
            try:
                operation = graph.get_operation_by_name('{}_{}'.format(first, number) if number else first)
            except KeyError:
                break
            if operation.type == 'PlaceholderWithDefault':
                prefix = operation.outputs[0]
        return prefix


def finder(import_scope: Optional[str]) -> Callable[[str], Optional[tf.Tensor]]:
    """A function from a name in an imported MetaGraph to its tf.Tensor, None if the graph lacks it."""
    graph, scope = tf.get_default_graph(), import_scope + '/' if import_scope else ''

    def find(name: str) -> Optional[tf.Tensor]:
        try:
            return graph.get_tensor_by_name('{}{}:0'.format(scope, name))
        except KeyError:
            return None

    return find


def device_of_savers(state: tf.Tensor) -> str:
    """The device for the tensors that are saved of a state.

    A sharded Saver groups by device, and cannot restore a group without an ordinary variable.
    """
    variables = tf.global_variables()
    return variables[0].device if variables else state.device


def _to_node(saveable: object, export_scope: Optional[str] = None) -> Optional[tf.NodeDef]:
    return saveable.op.op.node_def if isinstance(saveable, SelfRestoring) else None


def _from_node(node: tf.NodeDef, import_scope: Optional[str] = None) -> SelfRestoring:
    return next(kind for kind in _KINDS if node.name.endswith(kind.state_name)).from_node(node, import_scope)


try:
    # So that MetaGraphs carry it, and a Saver that is made after importing one saves it.
    tf_internal.register_proto_function(tf.GraphKeys.SAVEABLE_OBJECTS, tf.NodeDef, _to_node, _from_node)
except KeyError:  # a second import in one process
    pass
