"""Runs a graph piece by piece over all batches, and keeps only values that later pieces read.

So a network can be changed layer by layer while it runs, and each op runs once per batch, whatever the number of layers. An op
with several outputs, such as Split, runs once for each piece that reads it.
"""
from typing import Dict, Iterable, List, Optional, Sequence

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph import large_constants
from vai_q_tf.graph.sessions import session_config
from vai_q_tf.graph.view import GraphView, indexed_name, node_name, tensor_name
from vai_q_tf.types import Feed, Values


class PiecewiseRun:
    """The run of a GraphDef over batches.

    Args:
      graph_def: a frozen graph.
      feeds: the batches.
      wanted: the tensor names that `compute` will be called with, in that order; values that the remaining ones need are kept.
    """

    def __init__(self, graph_def: tf.GraphDef, feeds: Sequence[Feed], wanted: Sequence[str],
                 gpu_memory_fraction: Optional[float] = None) -> None:
        self._graph_def, self._view = graph_def, GraphView(graph_def)
        self._config = session_config(gpu_memory_fraction)
        self._kept = [{node_name(tensor): value for tensor, value in feed.items()} for feed in feeds]
        self._wanted = list(wanted)
        self._values: Dict[str, np.ndarray] = {}

    def set_values(self, values: Values) -> None:
        """Gives Consts other values, {name: array}; tensors that were computed before do not change."""
        self._values.update(values)

    def compute(self, tensor: str) -> List[np.ndarray]:
        """The values of a tensor, one array per batch."""
        if tensor in self._wanted:
            self._wanted.remove(tensor)
        name = node_name(tensor)
        if name in self._kept[0]:
            results = [kept[name] for kept in self._kept]
        else:
            results = self._run(tensor)
        self._release()
        return results

    def replace(self, tensor: str, values: Sequence[np.ndarray]) -> None:
        """Makes later pieces read other values of a tensor that was computed, one array per batch."""
        for kept, value in zip(self._kept, values):
            kept[tensor] = value

    def _run(self, tensor: str) -> List[np.ndarray]:
        """The values of a tensor that is not kept. Keeps every tensor computed for it that later pieces read."""
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

    def _node(self, member: str) -> tf.NodeDef:
        """The NodeDef of a node in a piece."""
        if member in self._kept[0]:
            return editor.placeholder(member, self._view.dtype(member), None)
        if member in self._values:
            return editor.constant(member, self._view.dtype(member), self._values[member])
        return editor.copy(self._view.node(member))

    def _read_later(self, members: Sequence[str], sources: Iterable[str]) -> List[str]:
        """The nodes among those of a piece, the last one first, whose values later pieces begin with.

        Nodes that depend on constants only, and nodes with several outputs, are computed again there.
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

    def _release(self) -> None:
        """Drops the values that no remaining tensor needs."""
        needed = set(self._view.upstream(map(node_name, self._wanted), self._kept[0]))
        for kept in self._kept:
            for name in [name for name in kept if name not in needed]:
                del kept[name]
