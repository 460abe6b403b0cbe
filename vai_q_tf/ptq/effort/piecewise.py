"""Runs a graph piece by piece over all batches, and keeps of what was computed only what later pieces read.

So a network can be changed layer by layer while it runs: each op runs once for each batch, whatever the number of layers. Those
of several outputs, such as Split, run again where several pieces read them.
"""
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.sessions import session_config
from vai_q_tf.graph.view import GraphView, indexed_name, node_name, tensor_name


class PiecewiseRun:
    """The run of a GraphDef over batches.

    Args:
      graph_def: a frozen graph; every tensor that is asked for is computed from its placeholders and constants.
      feeds: the batches, a list of {tensor name: array}.
      wanted: the tensor names that will be asked for, a list in the order in which that happens; a value is kept while one of
        those that are left may need it.
    """

    def __init__(self, graph_def, feeds, wanted, gpu_memory_fraction=None):
        self._graph_def, self._view = graph_def, GraphView(graph_def)
        self._config = session_config(gpu_memory_fraction)
        self._kept = [{node_name(tensor): value for tensor, value in feed.items()} for feed in feeds]
        self._wanted, self._values = list(wanted), {}

    def set_values(self, values):
        """Gives Consts other values, {name: array}; what was computed from the former ones stays as it is."""
        self._values.update(values)

    def compute(self, tensor):
        """The values of a tensor, one array a batch."""
        if tensor in self._wanted:
            self._wanted.remove(tensor)
        name = node_name(tensor)
        if name in self._kept[0]:
            results = [kept[name] for kept in self._kept]
        else:
            results = self._run(tensor)
        self._release()
        return results

    def replace(self, tensor, values):
        """Lets later pieces read other values of a tensor that was computed, one array a batch."""
        for kept, value in zip(self._kept, values):
            kept[tensor] = value

    def _run(self, tensor):
        """The values of a tensor that is not kept. Keeps it, and what else is computed on the way that is read later."""
        members = self._view.upstream([node_name(tensor)], self._kept[0])
        sources = [member for member in members if member in self._kept[0]]
        read_later = self._read_later(members, sources)
        with tf.Graph().as_default() as graph:
            large_constants.import_graph_def(editor.subgraph(self._graph_def, list(map(self._node, members))), name='')
            with large_constants.session(graph, self._config) as session:
                results = []
                for kept in self._kept:
                    result, later = session.run((indexed_name(tensor), {name: indexed_name(name) for name in read_later}),
                                                {indexed_name(source): kept[source] for source in sources})
                    kept.update(later)
                    results.append(result)
        return results

    def _node(self, member):
        """The NodeDef of a node in a piece."""
        if member in self._kept[0]:
            return editor.placeholder(member, self._view.dtype(member), None)
        if member in self._values:
            return editor.constant(member, self._view.dtype(member), self._values[member])
        return editor.copy(self._view.node(member))

    def _read_later(self, members, sources):
        """The nodes among those of a piece, in the order in which they run, whose values later pieces begin with.

        Constants, and what is computed from these alone, are computed again there, and so are nodes of several outputs.
        """
        changing, inside = set(sources), set(members)
        for member in members:
            if not changing.isdisjoint(map(node_name, self._view.inputs(member))):
                changing.add(member)
        wanted = set(map(node_name, self._wanted))
        needed = set(self._view.upstream(wanted, self._kept[0]))
        later, again = [], set()
        for member in reversed(members):
            outputs = len(self._view.output_types(member))
            readers = {reader for index in range(outputs) for reader, _ in self._view.consumers(tensor_name(member, index))}
            read_later = any(reader in needed and (reader not in inside or reader in again) for reader in readers)
            if member in changing and member in needed and (member in wanted or read_later):
                if outputs == 1:
                    later.append(member)
                else:
                    again.add(member)
        return later

    def _release(self):
        """Forgets what no tensor that will be asked for needs."""
        needed = set(self._view.upstream(map(node_name, self._wanted), self._kept[0]))
        for kept in self._kept:
            for name in [name for name in kept if name not in needed]:
                del kept[name]
