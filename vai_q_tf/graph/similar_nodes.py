"""Proposals for the name of a node that is not in the graph."""
from typing import Optional

from vai_q_tf import errors
from vai_q_tf.graph.traits import SHARED, VALUE, WEIGHTED, trait
from vai_q_tf.graph.view import GraphView, node_name


def did_you_mean(view: GraphView, name: str) -> str:
    """The end of a message about a node that is not in the graph: '; did you mean ...?' with similar names, or '.'.

    For the name of a scope, such as a layer, that is the op that computes its result.
    """
    result = _result_of_scope(view, node_name(name).rstrip('/') + '/')
    if result:
        return '; did you mean {!r}?'.format(result)
    return errors.did_you_mean(node_name(name), view.names) or '.'


def _result_of_scope(view: GraphView, scope: str) -> Optional[str]:
    """The last op with a quantization rule in a scope that no op of the scope reads; None without one."""
    ends = [name for name in view.names if name.startswith(scope)
            and trait(view.op(name)).kind in (WEIGHTED, VALUE, SHARED)
            and not any(reader.startswith(scope) for reader, _ in view.consumers(name))]
    return ends[-1] if ends else None
