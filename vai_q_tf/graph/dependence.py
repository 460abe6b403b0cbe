"""What of a graph depends on what is fed."""
import collections

from vai_q_tf.graph.view import node_name


def changing_nodes(view):
    """The nodes of a GraphView that depend on placeholders or on state, which may give another value in every run."""
    readers = collections.defaultdict(list)
    for name in view.names:
        for operand in view.node(name).input:
            readers[node_name(operand)].append(name)
    found, stack = set(), [name for name in view.names if view.op(name).startswith('Placeholder') or view.is_stateful(name)]
    while stack:
        name = stack.pop()
        if name not in found:
            found.add(name)
            stack.extend(readers[name])
    return found
