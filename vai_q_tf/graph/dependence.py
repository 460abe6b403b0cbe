"""Reachability and data dependence."""
import collections
from typing import Callable, Collection, Dict, Iterable, List, Mapping, Set, TypeVar

import tensorflow.compat.v1 as tf

from vai_q_tf.graph.view import GraphView, node_name

_Item = TypeVar('_Item')


def reach(starts: Iterable[_Item], following: Callable[[_Item], Iterable[_Item]]) -> Set[_Item]:
    """All items reachable from `starts`, inclusive; `following` gives the direct successors of an item."""
    found: Set[_Item] = set()
    stack = list(starts)
    while stack:
        one = stack.pop()
        if one not in found:
            found.add(one)
            stack.extend(following(one))
    return found


def in_order(needed: Mapping[str, Collection[str]]) -> List[str]:
    """The keys of `needed`, each after the keys that it needs; those on a cycle, or downstream of one, are missing."""
    readers: Dict[str, List[str]] = {name: [] for name in needed}
    for name, sources in needed.items():
        for source in sources:
            readers[source].append(name)
    waits = {name: len(sources) for name, sources in needed.items()}
    ready = [name for name, count in waits.items() if not count]
    for name in ready:  # which grows
        for reader in readers[name]:
            waits[reader] -= 1
            if not waits[reader]:
                ready.append(reader)
    return ready


def operands(view: GraphView, name: str) -> List[str]:
    """The nodes of the inputs and control inputs of a node."""
    return [node_name(reference) for reference in view.node(name).input]


def readers(nodes: Iterable[tf.NodeDef], controls: bool = True) -> Callable[[str], List[str]]:
    """A function from a node name to those of `nodes` that read it or, with `controls`, have it as a control input."""
    found = collections.defaultdict(list)
    for node in nodes:
        for reference in node.input:
            if controls or not reference.startswith('^'):
                found[node_name(reference)].append(node.name)
    return lambda name: found.get(name, [])


def changing_nodes(view: GraphView) -> Set[str]:
    """The nodes that depend on placeholders or on state, so that their values may differ from run to run."""
    fed = [name for name in view.names if view.op(name).startswith('Placeholder') or view.is_stateful(name)]
    return reach(fed, readers(map(view.node, view.names)))


def called_functions(node: tf.NodeDef, functions: Collection[str]) -> List[str]:
    """Those of `functions` that a NodeDef calls, as its op or by an attr."""
    names = [node.op]
    for value in node.attr.values():
        names += [value.func.name] if value.WhichOneof('value') == 'func' else [func.name for func in value.list.func]
    return [name for name in names if name in functions]
