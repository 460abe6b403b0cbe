"""The branches of conditions and the loops of a graph: what is in them, and what puts it there."""
from vai_q_tf.graph.dependence import reach
from vai_q_tf.graph.view import node_name, tensor_name

# Each for values and for references.
SWITCH_OPS, MERGE_OPS, ENTER_OPS, EXIT_OPS, NEXT_OPS = (
    frozenset((op, 'Ref' + op)) for op in ('Switch', 'Merge', 'Enter', 'Exit', 'NextIteration'))
CONTROL_FLOW_OPS = SWITCH_OPS | MERGE_OPS | ENTER_OPS | EXIT_OPS | NEXT_OPS | {'LoopCond'}
LOOP_VALUE_OPS = ENTER_OPS | NEXT_OPS  # what the Merge of a loop reads
LOOP_OPS = ENTER_OPS | {'While', 'StatelessWhile'}  # what every loop has, taken apart or as one op
# How many branches and loops deeper the result of an op is; a loop has its Switch inside.
_DEPTH = {op: change for ops, change in ((SWITCH_OPS, 1), (MERGE_OPS, -1), (ENTER_OPS, 1), (EXIT_OPS, -2)) for op in ops}


def next_iterations(view):
    """The nodes of a GraphView beyond which a walk against the data would turn in the circle of a loop."""
    return [name for name in view.names if view.op(name) in NEXT_OPS]


def branch_nodes(view):
    """The nodes of a GraphView that are in a branch of a condition or in a loop.

    Control inputs count where a node has no others and they come before it in the GraphDef.
    """
    if not any(view.op(name) in _DEPTH for name in view.names):
        return frozenset()
    repeating = frozenset(next_iterations(view))
    depth = dict.fromkeys(repeating, 0)
    for name in view.upstream(view.names, repeating):
        if name in depth:
            continue
        sources = [node_name(tensor) for tensor in view.inputs(name)] or view.control_inputs(name)
        change = _DEPTH.get(view.op(name), 0)
        if view.op(name) in MERGE_OPS and any(source in repeating for source in sources):
            change = 0
        depth[name] = max(0, change + max([depth.get(source, 0) for source in sources] or [0]))
    return frozenset(name for name, levels in depth.items() if levels)


def placing(view, name, branches):
    """The control inputs that put a node without inputs into its branch or loop; `branches`: see `branch_nodes`."""
    return () if view.inputs(name) else tuple(control for control in view.control_inputs(name) if control in branches)


def loop_nodes(view, members):
    """{node: name of its loop} of the nodes `members` that run once a turn of a loop, of the outer one where there are two.

    What a loop gives to its outside is none of them.
    """
    def readers(name):
        tensors = (tensor_name(name, index) for index in range(len(view.output_types(name))))
        return [reader for tensor in tensors for reader, _ in view.consumers(tensor)
                if reader in members and view.op(reader) not in EXIT_OPS]
    found = {}
    for enter in sorted((name for name in members if view.op(name) in ENTER_OPS), key=view.order):
        loop = found.get(enter) or view.attr(enter, 'frame_name').s.decode()
        found.update((name, loop) for name in reach([enter], lambda name: () if name in found else readers(name))
                     if name not in found)
    return found
