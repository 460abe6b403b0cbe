"""Positions of the boxes of a network in a picture: layers from top to bottom, in columns that give the shape of a screen."""
import math
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Callable, Dict, Iterable, List, Mapping, NamedTuple, Sequence, Tuple, TypeVar

WIDTH, HEIGHT = 176.0, 44.0  # of a box
_ACROSS, _DOWN = 28.0, 26.0  # between boxes
_STEP = HEIGHT + _DOWN  # from layer to layer
_GUTTER = 60.0  # between columns
_ASPECT = 1.9  # of the picture, width over height
_COLUMNS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64)  # possible numbers
# Longer lines do not push boxes aside: the first of these lengths, in layers, with which all lines together bridge at most
# _MOST_BRIDGED layers.
_FARTHEST = (12, 6, 3, 1)
_MOST_BRIDGED = 3000
_RECURSION = 20000  # of the layout package, one level per layer
_STACK = 256 << 20  # bytes for the recursion

Point = Tuple[float, float]
Edge = Tuple[int, int]  # (box that is read, box that reads)
Place = Tuple[float, int]  # (horizontal place, layer)
Span = Tuple[float, float]  # (least, greatest) place
_Result = TypeVar('_Result')


class Layout(NamedTuple):
    """centres: one per box; y grows upwards. lines: the points of each line from a box to its reader."""
    centres: List[Point]
    lines: List[List[Point]]


def lay_out(inputs: Sequence[Sequence[int]]) -> Layout:
    """The Layout of boxes; inputs: for each box the numbers of the boxes that it reads."""
    if not inputs:
        return Layout([], [])
    edges = [(source, number) for number, sources in enumerate(inputs) for source in sources]
    ranks = _ranks(inputs)
    places, ways = _with_deep_stack(lambda: _across(len(inputs), _pushing(edges, ranks)))
    _push_apart(places, ranks)
    return _in_columns(places, ranks, [_way(edge, places, ranks, ways) for edge in edges])


def _way(edge: Edge, places: Sequence[float], ranks: Sequence[int], ways: Mapping[Edge, Sequence[float]]) -> List[Place]:
    """The places at which a line passes the layers, both ends included."""
    (source, target), passed = edge, ways.get(edge, [])[1:-1]
    return [(places[source], ranks[source]), *zip(passed, range(ranks[source] + 1, ranks[target])),
            (places[target], ranks[target])]


def _push_apart(places: List[float], ranks: Sequence[int]) -> None:
    """Moves boxes to the right that the layout package lets overlap."""
    ends: Dict[int, float] = {}
    for number in sorted(range(len(places)), key=places.__getitem__):
        places[number] = max(places[number], ends.get(ranks[number], places[number]))
        ends[ranks[number]] = places[number] + WIDTH + _ACROSS / 2


def _pushing(edges: Sequence[Edge], ranks: Sequence[int]) -> List[Edge]:
    """The edges that influence the places of boxes."""
    spans = [ranks[target] - ranks[source] for source, target in edges]
    found: List[Edge] = []
    for farthest in _FARTHEST:
        found = [edge for edge, span in zip(edges, spans) if 0 < span <= farthest]
        if sum(span for span in spans if 1 < span <= farthest) <= _MOST_BRIDGED:
            break
    return found


def _with_deep_stack(function: Callable[[], _Result]) -> _Result:
    """The result of `function()`, run in a thread with room for deep recursion."""
    with ThreadPoolExecutor(1) as pool:
        limit, size = sys.getrecursionlimit(), threading.stack_size(_STACK)
        try:
            sys.setrecursionlimit(max(limit, _RECURSION))
            return pool.submit(function).result()
        finally:
            sys.setrecursionlimit(limit)
            threading.stack_size(size)


def _ranks(inputs: Sequence[Sequence[int]]) -> List[int]:
    """The layer of each box: one below the lowest that it reads."""
    ranks: List[int] = []
    for number, sources in enumerate(inputs):
        ranks.append(1 + max((ranks[source] for source in sources if source < number), default=-1))
    return ranks


class _Path:
    """Receives the points of an edge from the layout package."""

    def setpath(self, points: Iterable[Point]) -> None:
        """Keeps the horizontal places; the package calls it."""
        self.places = [x for x, _ in points]


def _across(count: int, edges: Sequence[Edge]) -> Tuple[List[float], Dict[Edge, List[float]]]:
    """(the horizontal place of each box, {edge: its horizontal place in each layer from the one box to the other})."""
    places, ways, left = [0.0] * count, {}, 0.0
    for members in _components(count, edges):
        own, lines = _component_across(members, edges)
        shift = left - min(own.values())
        for number, x in own.items():
            places[number] = x + shift
        ways.update({edge: [x + shift for x in passed] for edge, passed in lines.items()})
        left = max(x for way in [own.values(), *lines.values()] for x in way) + shift + WIDTH + _ACROSS
    return places, ways


def _component_across(members: Iterable[int], edges: Iterable[Edge]) -> Tuple[Dict[int, float], Dict[Edge, List[float]]]:
    """The same for connected boxes alone, as {number: place} and {edge: places}."""
    from grandalf import graphs, layouts
    vertices = {number: graphs.Vertex(number) for number in members}
    for vertex in vertices.values():
        vertex.view = layouts.VertexViewer(WIDTH, HEIGHT)
    lines: Dict[Edge, Any] = {
        edge: graphs.Edge(vertices[edge[0]], vertices[edge[1]]) for edge in edges if edge[0] in vertices}
    for line in lines.values():
        line.view = _Path()
    layout = layouts.SugiyamaLayout(graphs.graph_core(list(vertices.values()), list(lines.values())))
    layout.xspace = _ACROSS
    layout.init_all(inverted_edges=[])
    layout.draw(3)
    return ({number: vertex.view.xy[0] for number, vertex in vertices.items()},
            {edge: line.view.places for edge, line in lines.items()})


def _components(count: int, edges: Iterable[Edge]) -> List[List[int]]:
    """The connected components, each a sorted list of numbers, the largest first."""
    parent = list(range(count))

    def root(number: int) -> int:
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    for source, target in edges:
        parent[root(target)] = root(source)
    members: Dict[int, List[int]] = {}
    for number in range(count):
        members.setdefault(root(number), []).append(number)
    return sorted(members.values(), key=len, reverse=True)


def _in_columns(places: Sequence[float], ranks: Sequence[int], ways: Sequence[Sequence[Place]]) -> Layout:
    """The Layout of boxes and lines, whose layers are cut into columns side by side."""
    spans = _spans([point for way in ways for point in way] + list(zip(places, ranks)))
    columns = _Columns(spans, _choose_rows(spans))
    return Layout([columns.at(point) for point in zip(places, ranks)], [columns.line(way) for way in ways])


def _choose_rows(spans: Sequence[Span]) -> int:
    """The number of layers in a column with which the picture comes nearest to its aspect."""
    def misfit(rows: int) -> float:
        width = sum(end - start + WIDTH + _GUTTER for start, end in _joined(spans, rows))
        return abs(math.log(width / (rows * _STEP) / _ASPECT))
    return min({math.ceil(len(spans) / columns) for columns in _COLUMNS}, key=misfit)


class _Columns:
    """Maps places to points of a picture with columns of `rows` layers."""

    def __init__(self, spans: Sequence[Span], rows: int) -> None:
        self._rows = rows
        self._bottom, self._top = -(rows - 0.5) * _STEP, _STEP / 2
        self._shifts: List[float] = []  # of each column to the right
        self._gutters: List[float] = []  # middle of the gutter after each column
        left = 0.0
        for first, last in _joined(spans, rows):
            self._shifts.append(left - first + WIDTH / 2)
            left += last - first + WIDTH + _GUTTER
            self._gutters.append(left - _GUTTER / 2)

    def at(self, place: Place) -> Point:
        """The point of a place."""
        x, rank = place
        return x + self._shifts[rank // self._rows], -(rank % self._rows) * _STEP

    def line(self, way: Sequence[Place]) -> List[Point]:
        """The points of a line; between columns it runs below the first one and up through the gutter before the second."""
        found = [self.at(way[0])]
        for before, after in zip(way, way[1:]):
            first, last = before[1] // self._rows, after[1] // self._rows
            if first != last:
                (x0, y0), (x1, _) = self.at(before), self.at(after)
                if before[1] % self._rows == self._rows - 1:
                    found.append((x0, self._bottom))
                else:  # past the boxes below
                    found += [(self._gutters[first], y0 - _STEP / 2), (self._gutters[first], self._bottom)]
                gutter = self._gutters[last - 1]
                found += [(gutter, self._bottom), (gutter, self._top), (x1, self._top)]
            found.append(self.at(after))
        return found


def _spans(points: Iterable[Place]) -> List[Span]:
    """The Span of each layer."""
    spans: Dict[int, Span] = {}
    for place, rank in points:
        first, last = spans.get(rank, (place, place))
        spans[rank] = min(first, place), max(last, place)
    return [spans[rank] for rank in sorted(spans)]


def _joined(spans: Sequence[Span], rows: int) -> List[Span]:
    """The Span of each column of `rows` layers."""
    columns = [spans[start:start + rows] for start in range(0, len(spans), rows)]
    return [(min(first for first, _ in column), max(last for _, last in column)) for column in columns]
