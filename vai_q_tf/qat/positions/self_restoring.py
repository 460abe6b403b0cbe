"""What a training keeps beside its variables, in checkpoints that need not have it."""
import itertools

import tensorflow.compat.v1 as tf

from vai_q_tf import tf_internal

_KINDS = []


class SelfRestoring(tf_internal.SaveableObject):
    """A saveable object that looks into the checkpoint by itself, so that one without it restores.

    A Saver asks for `specs` twice, for its save ops and then for its restore ops, and would demand from the checkpoint what
    it finds the second time. There it finds nothing, and `restore` looks into the checkpoint itself.

    Args:
      state: the tf.Tensor with the handle of the state, by whose op a MetaGraph knows it.
      specs: what is saved, tf_internal.SaveSpecs. The tensor of the first is the saveable's own; its device is that of all.
    """
    state_name = ''  # what the op of the state is called

    def __init__(self, state, specs):
        self._mark = specs[0].tensor
        super().__init__(state, specs, state.name)

    def __init_subclass__(cls):
        _KINDS.append(cls)

    @classmethod
    def from_node(cls, node, import_scope):
        """The one whose state is the NodeDef `node`, in the default graph, into which a MetaGraph was imported."""
        raise NotImplementedError

    @property
    def specs(self):
        prefix = self.prefix()
        saved = prefix is not None and any(
            op.type.startswith('Save') and tf_internal.creation_number(op) > tf_internal.creation_number(prefix.op)
            for op in self._mark.consumers())
        return [] if saved else self._specs

    @specs.setter
    def specs(self, specs):
        self._specs = specs

    @property
    def device(self):
        return self._mark.device

    def prefix(self):
        """The tensor for the name of the checkpoint of the Saver that is being made; None where none is.

        In an imported graph it may be in a name scope with others, of which it is the last.
        """
        graph, prefix = self.op.graph, None
        name = first = graph.get_name_scope() + '/Const'
        for number in itertools.count(1):
            try:
                operation = graph.get_operation_by_name(name)
            except KeyError:
                return prefix
            if operation.type == 'PlaceholderWithDefault':
                prefix = operation.outputs[0]
            name = '{}_{}'.format(first, number)


def finder(import_scope):
    """A function that gives the tf.Tensor of a name in a MetaGraph that was imported; None where there is none."""
    graph, scope = tf.get_default_graph(), import_scope + '/' if import_scope else ''

    def find(name):
        try:
            return graph.get_tensor_by_name('{}{}:0'.format(scope, name))
        except KeyError:
            return None

    return find


def device_of_savers(state):
    """Where what is saved of a state has to be.

    A sharded Saver groups by device, and cannot restore a group that has no ordinary variable.
    """
    variables = tf.global_variables()
    return variables[0].device if variables else state.device


def _to_node(saveable, export_scope=None):
    return saveable.op.op.node_def if isinstance(saveable, SelfRestoring) else None


def _from_node(node, import_scope=None):
    return next(kind for kind in _KINDS if node.name.endswith(kind.state_name)).from_node(node, import_scope)


try:
    # So that MetaGraphs carry it, and a Saver that is made after importing one saves it.
    tf_internal.register_proto_function(tf.GraphKeys.SAVEABLE_OBJECTS, tf.NodeDef, _to_node, _from_node)
except KeyError:  # a second import in one process
    pass
