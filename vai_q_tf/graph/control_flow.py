"""Branches of conditions and loops: the nodes in them, and the control inputs that place nodes there."""
from typing import Container, Dict, FrozenSet, Iterable, List, Set, Tuple

from vai_q_tf.graph.dependence import reach
from vai_q_tf.graph.view import GraphView, node_name, tensor_name

# Each for values and for references.
SWITCH_OPS, MERGE_OPS, ENTER_OPS, EXIT_OPS, NEXT_OPS = (
    frozenset((op, 'Ref' + op)) for op in ('Switch', 'Merge', 'Enter', 'Exit', 'NextIteration'))
CONTROL_FLOW_OPS = SWITCH_OPS | MERGE_OPS | ENTER_OPS | EXIT_OPS | NEXT_OPS | {'LoopCond'}
LOOP_VALUE_OPS = ENTER_OPS | NEXT_OPS  # inputs of the Merge of a loop
LOOP_OPS = ENTER_OPS | {'While', 'StatelessWhile'}  # every loop has one of them, as ops or as a functional op


def next_iterations(view: GraphView) -> List[str]:
    """The nodes at which a walk upstream has to stop, or it would run round a loop."""
    return [name for name in view.names if view.op(name) in NEXT_OPS]


def branch_nodes(view: GraphView) -> FrozenSet[str]:
    """The nodes in a branch of a condition or in a loop.

    For a node without inputs, the control inputs that come before it in the GraphDef count.
    """
    if not any(view.op(name) in CONTROL_FLOW_OPS for name in view.names):
        return frozenset()
    depths = dict.fromkeys(next_iterations(view), 0)
    for name in view.upstream(view.names, list(depths)):
        if view.op(name) not in NEXT_OPS:
            sources = [node_name(tensor) for tensor in view.inputs(name)] or view.control_inputs(name)
            depths[name] = depth_after(view, name, max((depths.get(source, 0) for source in sources), default=0))
    return frozenset(name for name, depth in depths.items() if depth)


def depth_after(view: GraphView, name: str, depth: int) -> int:
    """The number of branches and loops around the result of a node, from the largest number around its inputs."""
    op = view.op(name)
    if op in ENTER_OPS or op in SWITCH_OPS and view.op(view.inputs(name)[1]) != 'LoopCond':
        return depth + 1
    if op in EXIT_OPS or op in MERGE_OPS and not any(view.op(tensor) in NEXT_OPS for tensor in view.inputs(name)):
        return max(0, depth - 1)
    return depth


def placing(view: GraphView, name: str, branches: Container[str]) -> Tuple[str, ...]:
    """The control inputs that place a node without inputs in its branch or loop.

    branches: see `branch_nodes`.
    """
    return () if view.inputs(name) else tuple(control for control in view.control_inputs(name) if control in branches)


def upstream_with_branches(view: GraphView, starts: Iterable[str], stops: Container[str], branches: Container[str]) -> Set[str]:
    """The nodes that `starts` depend on through data, and through what places constants in branches, both ends included.

    The walk ends at the nodes in `stops`. branches: see `branch_nodes`.
    """
    return reach(starts, lambda name: () if name in stops else (
        [node_name(tensor) for tensor in view.inputs(name)] + list(placing(view, name, branches))))


def loop_nodes(view: GraphView, members: Container[str]) -> Dict[str, str]:
    """{node: name of its outermost loop} of the nodes `members` that run in each iteration of a loop.

    The results of a loop, its Exit nodes, do not count.
    """
    def readers(name: str) -> List[str]:
        tensors = (tensor_name(name, index) for index in range(len(view.output_types(name))))
        return [reader for tensor in tensors for reader, _ in view.consumers(tensor)
                if reader in members and view.op(reader) not in EXIT_OPS]

    found: Dict[str, str] = {}
    for enter in (name for name in view.names if name in members and view.op(name) in ENTER_OPS):
        loop = found.get(enter) or view.attr(enter, 'frame_name').s.decode()
        inside = reach([enter], lambda name: () if name in found else readers(name))
        found.update((name, loop) for name in inside if name not in found)
    return found
