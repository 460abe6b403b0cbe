"""What in a graph depends on what."""
import collections

from vai_q_tf.graph.view import node_name


def reach(starts, following):
    """The set of what is reached from `starts`, these included; `following` is a function from one to the next ones."""
    found, stack = set(), list(starts)
    while stack:
        one = stack.pop()
        if one not in found:
            found.add(one)
            stack.extend(following(one))
    return found


def operands(view, name):
    """The nodes that the node of a GraphView reads or waits for."""
    return [node_name(reference) for reference in view.node(name).input]


def readers(nodes, controls=True):
    """A function from a name to those of the NodeDefs `nodes` that read that node or, with `controls`, wait for it."""
    found = collections.defaultdict(list)
    for node in nodes:
        for reference in node.input:
            if controls or not reference.startswith('^'):
                found[node_name(reference)].append(node.name)
    return lambda name: found.get(name, ())


def changing_nodes(view):
    """The nodes of a GraphView that depend on placeholders or on state, which may give another value in every run."""
    fed = [name for name in view.names if view.op(name).startswith('Placeholder') or view.is_stateful(name)]
    return reach(fed, readers(map(view.node, view.names)))
