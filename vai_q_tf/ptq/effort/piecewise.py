"""Runs a graph piece by piece over all batches, and keeps of what was computed only what later pieces read.

So a network can be changed layer by layer while it runs: each op runs once for each batch, whatever the number of layers.
"""
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.sessions import session_config
from vai_q_tf.graph.view import GraphView, indexed_name, node_name


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
        name = node_name(tensor)
        if name in self._kept[0]:
            return [kept[name] for kept in self._kept]
        piece, sources = self._piece(name)
        with tf.Graph().as_default() as graph:
            tf.import_graph_def(piece, name='')
            with tf.Session(graph=graph, config=self._config) as session:
                results = [session.run(indexed_name(tensor), {source + ':0': kept[source] for source in sources})
                           for kept in self._kept]
        if len(self._view.output_types(name)) == 1:
            self.replace(name, results)
        if tensor in self._wanted:
            self._wanted.remove(tensor)
        self._release()
        return results

    def replace(self, tensor, values):
        """Lets later pieces read other values of a tensor that was computed, one array a batch."""
        for kept, value in zip(self._kept, values):
            kept[tensor] = value

    def _piece(self, name):
        """What computes the node `name` from values that are kept, and the names of those."""
        kept, nodes, sources = self._kept[0], [], []
        for member in self._view.upstream([name], kept):
            if member in kept:
                nodes.append(editor.placeholder(member, self._view.dtype(member), None))
                sources.append(member)
            elif member in self._values:
                nodes.append(editor.constant(member, self._view.dtype(member), self._values[member]))
            else:
                nodes.append(editor.copy(self._view.node(member)))
        return editor.subgraph(self._graph_def, nodes), sources

    def _release(self):
        """Forgets what no tensor that will be asked for needs."""
        needed = set(self._view.upstream([node_name(tensor) for tensor in self._wanted], self._kept[0]))
        for kept in self._kept:
            for name in [name for name in kept if name not in needed]:
                del kept[name]
