"""The nodes outside the range that a model was quantized in, such as its preprocessing and its postprocessing."""
from typing import Collection, Dict, List, Mapping, Optional, Sequence, Set, Tuple

from vai_q_tf.graph.dependence import reach

# (input nodes, output nodes)
Ends = Tuple[Sequence[str], Sequence[str]]


def nodes_outside(sources: Mapping[str, Sequence[str]], quantized: Collection[str], weighted: Collection[str],
                  ends: Optional[Ends] = None) -> Set[str]:
    """The nodes that are not between the input and the output nodes.

    Args:
      sources: {node: the nodes that it reads}.
      quantized: the nodes with a quantized result.
      weighted: the nodes with weights.
      ends: the range; None if unknown: the nodes from the first to the last quantized result. If a layer with weights comes
        before or after these, it belongs to the network, too, and the range extends to that end of the graph.
    """
    readers: Dict[str, List[str]] = {name: [] for name in sources}
    for name, read in sources.items():
        for source in read:
            readers[source].append(name)
    found: Set[str] = set()
    starts, stops = ends or (quantized, quantized)
    for part in (_not_reached(starts, readers), _not_reached(stops, sources)):
        if ends or part.isdisjoint(weighted):
            found |= part
    return found


def _not_reached(starts: Collection[str], following: Mapping[str, Sequence[str]]) -> Set[str]:
    """The nodes that do not follow those of `starts` that exist; none of them exists: no nodes."""
    known = [name for name in starts if name in following]
    if not known:
        return set()
    reached = reach(known, following.__getitem__)
    return set(following) - reached
