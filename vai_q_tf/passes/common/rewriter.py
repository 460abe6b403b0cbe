"""Rewriter: the edits that one pass makes to a GraphDef.

A pass searches `rewriter.view`, which does not change, and records edits; `result()` applies all of them at once. So all
matches of a pass refer to the same graph, and a pass runs in time linear in the number of nodes.
"""
from typing import Any, Collection, Dict, FrozenSet, Iterable, List, Optional, Tuple, Union

import numpy as np
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.dependence import reach
from vai_q_tf.graph.view import REDEFINED, RESULTS, SOURCE_NODES, GraphView, known_value, node_name, normalise


class Rewriter:
    """Edits of `graph_def`.

    Args:
      graph_def: a GraphDef; it is not changed.
      protected: names of the nodes that keep name and meaning: inputs, outputs, and nodes that the rest of the graph reads.

    Attributes:
      view: the GraphView of `graph_def`. protected: frozenset of the names.
    """

    def __init__(self, graph_def: tf.GraphDef, protected: Iterable[str]) -> None:
        self.view = GraphView(graph_def)
        self.protected = frozenset(protected)
        self._graph_def = graph_def
        self._nodes: Dict[str, tf.NodeDef] = {}  # added, or replacing the node of that name
        self._redirects: Dict[str, Tuple[str, FrozenSet[str]]] = {}  # tensor -> (tensor, nodes that still read the former)
        self._shortcuts: Dict[str, str] = {}  # tensor -> end of a chain of redirects that hold for all readers
        self._names = set(self.view.names)
        self._numbers: Dict[str, int] = {}  # name -> the last number that `unique` appended to it

    def unique(self, name: str) -> str:
        """`name`, with a number appended if it is taken. The result counts as taken from now on."""
        unique, number = name, self._numbers.get(name, 0)
        while unique in self._names:
            number += 1
            unique = '{}_{}'.format(name, number)
        self._numbers[name] = number
        self._names.add(unique)
        return unique

    def node(self, name: str) -> tf.NodeDef:
        """The NodeDef of that name with the edits so far. Do not change it: `add` a changed copy."""
        name = node_name(name)
        return self._nodes.get(name) or self.view.node(name)

    def value(self, tensor: str) -> Optional[np.ndarray]:
        """The value of a Const, seen through Identity nodes; None for other nodes and for unknown values."""
        return known_value(self.node(self.view.skip_identity(tensor)))

    def is_read_only_by(self, tensor: str, readers: Collection[str]) -> bool:
        """Whether no node outside `readers` reads the tensor, and its node is not protected."""
        return node_name(tensor) not in self.protected and all(name in readers for name, _ in self.view.consumers(tensor))

    def add(self, node: tf.NodeDef) -> None:
        """Adds a NodeDef with a name from `unique`, or replaces the node that has its name."""
        self._nodes[node.name] = node
        self._names.add(node.name)

    def set_value(self, name: str, value: np.ndarray) -> None:
        """Changes the value of a Const of the view; its type stays."""
        old = self.node(name)
        self.replace(editor.constant(old.name, old.attr['dtype'].type, value))

    def replace(self, new: tf.NodeDef) -> None:
        """Replaces the node that has the name of the Const `new`, which takes its control inputs, sources and shapes."""
        old = self.node(new.name)
        new.input.extend(old.input)
        self._inherit(new, old)
        self.add(new)

    def set_input(self, name: str, index: int, tensor: str) -> None:
        """Makes data input `index` of the node `name` read `tensor`."""
        new = editor.exact_copy(self.node(name))
        new.input[index] = tensor
        self.add(new)

    def redirect(self, tensor: str, target: str, but: Iterable[str] = ()) -> None:
        """Makes all readers of `tensor`, added nodes included, read `target`, except the nodes `but`.

        Not for protected nodes: see `append` for how another node takes over a protected name.
        """
        self._redirects[normalise(tensor)] = normalise(target), frozenset(but)

    def append(self, name: str, nodes: Iterable[tf.NodeDef], inner: str) -> None:
        """Inserts a chain of NodeDefs between output 0 of the node `name` and its readers.

        If `name` is protected, the last node of the chain takes this name, and the node is renamed to `inner` (made unique).
        """
        nodes = list(nodes)
        if name not in self.protected:
            for node in nodes:
                self.add(node)
            self.redirect(name, nodes[-1].name, but=[node.name for node in nodes])
            return
        inner = self.unique(inner)
        before = editor.copy(self.node(name), name=inner)
        self._inherit(before, self.node(name))
        for node in nodes:
            node.input[:] = [inner if operand == name else operand for operand in node.input]
        nodes[-1].name = name
        for node in [before] + nodes:
            self.add(node)

    def inherit_sources(self, node: tf.NodeDef, *names: str) -> None:
        """Records in the NodeDef `node` that it replaces the nodes `names`, and all nodes that those had replaced."""
        known = dict.fromkeys(node.attr[SOURCE_NODES].list.s)
        for name in names:
            known[name.encode()] = None
            known.update(dict.fromkeys(_sources(self.node(name)) if name in self.view else ()))
        known.pop(node.name.encode(), None)
        if known:
            node.attr[SOURCE_NODES].list.s[:] = list(known)
        else:
            node.attr.pop(SOURCE_NODES, None)

    def _inherit(self, new: tf.NodeDef, old: tf.NodeDef) -> None:
        for key in (SOURCE_NODES, '_output_shapes'):
            if key in old.attr:
                new.attr[key].CopyFrom(old.attr[key])

    def result(self) -> tf.GraphDef:
        """The edited GraphDef without the nodes that no protected node depends on; `graph_def` itself if nothing was edited.

        Control inputs follow the redirects, and are dropped together with the nodes they name.
        """
        self._shortcuts.clear()
        if not self._nodes and not self._redirects:
            return self._graph_def
        nodes = {name: self._nodes.get(name) or self.view.node(name) for name in self.view.names}
        nodes.update((name, node) for name, node in self._nodes.items() if name not in nodes)
        inputs = {name: self._inputs(node) for name, node in nodes.items()}
        used = reach([name for name in self.protected if name in nodes] or nodes,
                     lambda name: map(node_name, inputs.get(name, ())))
        result = editor.subgraph(self._graph_def, [nodes[name] for name in nodes if name in used])
        self._note_results(result)
        for node in result.node:
            node.input[:] = [reference for reference in inputs[node.name]
                             if not reference.startswith('^') or reference[1:] in used]
        return result

    def _note_results(self, result: tf.GraphDef) -> None:
        """Records in the nodes of the GraphDef `result` which tensors their readers read before."""
        nodes = {node.name: node for node in result.node}
        replaced: Dict[str, Dict[str, None]] = {}  # node -> the tensors, as an ordered set
        for tensor, (target, _) in self._redirects.items():
            target = self._resolve(target, '')
            if target in nodes:
                earlier = results_of(self.view.node(tensor)) if tensor in self.view else []
                replaced.setdefault(target, dict.fromkeys(results_of(nodes[target]))).update(
                    dict.fromkeys([tensor] + earlier))
        for name, tensors in replaced.items():
            nodes[name].attr[RESULTS].list.s[:] = [tensor.encode() for tensor in tensors if tensor != name]

    def _inputs(self, node: tf.NodeDef) -> List[str]:
        """The inputs of the NodeDef after all redirects, each control input once."""
        resolved: List[str] = []
        for reference in node.input:
            target = self._resolve(reference, node.name)
            if target not in resolved or not target.startswith('^'):
                resolved.append(target)
        return resolved

    def _resolve(self, reference: str, reader: str) -> str:
        """The input that the node `reader` has instead of `reference`; long chains of redirects are followed only once."""
        control = reference.startswith('^')
        tensor = normalise(reference.lstrip('^'))
        passed: List[str] = []
        while tensor in self._redirects:
            target, but = self._redirects[tensor]
            if but:  # the chain up to here leads to `tensor` for all readers, from here on not
                self._shortcuts.update(dict.fromkeys(passed, tensor))
                passed = []
                if reader in but:
                    break
                tensor = target
            else:
                passed.append(tensor)
                tensor = self._shortcuts.get(tensor, target)
        self._shortcuts.update(dict.fromkeys(passed, tensor))
        return '^' + node_name(tensor) if control else tensor


def results_of(node: tf.NodeDef) -> List[str]:
    """The tensors of the float graph whose readers read the NodeDef `node` instead."""
    return [tensor.decode() for tensor in node.attr[RESULTS].list.s] if RESULTS in node.attr else []


def redefined(node: tf.NodeDef) -> tf.NodeDef:
    """The NodeDef `node`, marked: it computes something else than the node of that name in the float graph."""
    node.attr[REDEFINED].b = True
    return node


def _sources(node: tf.NodeDef) -> List[bytes]:
    # Reading a missing attr of a NodeDef would add it.
    return list(node.attr[SOURCE_NODES].list.s) if SOURCE_NODES in node.attr else []


def make_node(op: str, name: str, inputs: Iterable[str], like: Optional[tf.NodeDef] = None, **attrs: Any) -> tf.NodeDef:
    """A NodeDef.

    Args:
      like: a NodeDef whose `_output_shapes` it gets.
      attrs: values of its attributes: a tf.DType, bool, int, float, str or list of int.
    """
    result = tf.NodeDef(name=name, op=op, input=inputs)
    for key, value in attrs.items():
        _set_attr(result.attr[key], value)
    if like is not None and '_output_shapes' in like.attr:
        result.attr['_output_shapes'].CopyFrom(like.attr['_output_shapes'])
    return result


def _set_attr(attr: tf.AttrValue, value: Union[tf.DType, bool, int, float, str, Iterable[int]]) -> None:
    if isinstance(value, tf.DType):
        attr.type = value.as_datatype_enum
    elif isinstance(value, bool):
        attr.b = value
    elif isinstance(value, int):
        attr.i = value
    elif isinstance(value, float):
        attr.f = value
    elif isinstance(value, str):
        attr.s = value.encode()
    else:
        attr.list.i.extend(value)
