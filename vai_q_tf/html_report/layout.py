"""Where the boxes of a network are drawn: layers from top to bottom, in as many columns as make a picture of a usual form."""
import math
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import List, NamedTuple, Tuple

WIDTH, HEIGHT = 176.0, 44.0  # of a box
_ACROSS, _DOWN = 28.0, 26.0  # between boxes
_GUTTER = 60.0  # between columns
_ASPECT = 1.9  # of a picture, width over height
_COLUMNS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 16, 20, 24, 32, 48, 64)  # what a picture may have
_FARTHEST = (12, 6, 3, 1)  # layers that a line may bridge and still push boxes aside, the first that keeps to
_MOST_BRIDGED = 3000  # layers that all lines together bridge
_RECURSION = 20000  # of the layout package; one level for each layer
_STACK = 256 << 20  # bytes, for that

Point = Tuple[float, float]


class Layout(NamedTuple):
    """centres: of each box; y grows upwards. lines: for each pair (box that is read, box that reads) its points."""
    centres: List[Point]
    lines: List[List[Point]]


def lay_out(inputs):
    """The Layout of boxes that read those of `inputs`: for each one the numbers of the boxes before it that it reads."""
    if not inputs:
        return Layout([], [])
    edges = [(source, number) for number, sources in enumerate(inputs) for source in sources]
    ranks = _ranks(inputs)
    places, ways = _with_deep_stack(lambda: _across(len(inputs), _pushing(edges, ranks)))
    _push_apart(places, ranks)
    return _in_columns(places, ranks, [_way(edge, places, ranks, ways) for edge in edges])


def _way(edge, places, ranks, ways):
    """The (place, rank) where a line passes a layer, from the box that is read to the one that reads."""
    (source, target), passed = edge, ways.get(edge, ())[1:-1]
    return [(places[source], ranks[source]), *zip(passed, range(ranks[source] + 1, ranks[target])),
            (places[target], ranks[target])]


def _push_apart(places, ranks):
    """Moves boxes to the right that the layout package lets overlap."""
    ends = {}
    for number in sorted(range(len(places)), key=places.__getitem__):
        places[number] = max(places[number], ends.get(ranks[number], places[number]))
        ends[ranks[number]] = places[number] + WIDTH + _ACROSS / 2


def _pushing(edges, ranks):
    """The edges that have a say in where boxes are."""
    spans = [ranks[target] - ranks[source] for source, target in edges]
    for farthest in _FARTHEST:
        found = [edge for edge, span in zip(edges, spans) if 0 < span <= farthest]
        if sum(span for span in spans if 1 < span <= farthest) <= _MOST_BRIDGED:
            break
    return found


def _with_deep_stack(function):
    """What `function()` returns, run where it may recur deeply."""
    with ThreadPoolExecutor(1) as pool:
        limit, size = sys.getrecursionlimit(), threading.stack_size(_STACK)
        try:
            sys.setrecursionlimit(max(limit, _RECURSION))
            return pool.submit(function).result()
        finally:
            sys.setrecursionlimit(limit)
            threading.stack_size(size)


def _ranks(inputs):
    ranks = []
    for number, sources in enumerate(inputs):
        ranks.append(1 + max((ranks[source] for source in sources if source < number), default=-1))
    return ranks


class _Path:
    """Takes the points of an edge from the layout package."""

    def setpath(self, points):
        self.places = [x for x, _ in points]


def _across(count, edges):
    """(the horizontal place of each box, {edge: its horizontal place in each layer from the one box to the other})."""
    from grandalf.graphs import Edge, Vertex, graph_core
    from grandalf.layouts import SugiyamaLayout, VertexViewer
    places, ways, left = [0.0] * count, {}, 0.0
    for members in _components(count, edges):
        vertices = {number: Vertex(number) for number in members}
        for vertex in vertices.values():
            vertex.view = VertexViewer(WIDTH, HEIGHT)
        lines = {edge: Edge(vertices[edge[0]], vertices[edge[1]]) for edge in edges if edge[0] in vertices}
        for line in lines.values():
            line.view = _Path()
        layout = SugiyamaLayout(graph_core(list(vertices.values()), list(lines.values())))
        layout.xspace = _ACROSS
        layout.init_all(inverted_edges=[])
        layout.draw(3)
        own = {number: vertex.view.xy[0] for number, vertex in vertices.items()}
        shift = left - min(own.values())
        for number, x in own.items():
            places[number] = x + shift
        ways.update((edge, [x + shift for x in line.view.places]) for edge, line in lines.items())
        left = max(x for way in [own.values(), *(line.view.places for line in lines.values())] for x in way) + shift + (
            WIDTH + _ACROSS)
    return places, ways


def _components(count, edges):
    """The numbers of the boxes that hang together, a sorted list each, the largest first."""
    parent = list(range(count))

    def root(number):
        while parent[number] != number:
            parent[number] = parent[parent[number]]
            number = parent[number]
        return number

    for source, target in edges:
        parent[root(target)] = root(source)
    members = {}
    for number in range(count):
        members.setdefault(root(number), []).append(number)
    return sorted(members.values(), key=len, reverse=True)


def _in_columns(places, ranks, ways):
    """The Layout; ways: for each line its (place, rank) in the layers that it comes through."""
    layers, step = max(ranks) + 1, HEIGHT + _DOWN
    spans = _spans([point for way in ways for point in way] + list(zip(places, ranks)))
    rows = min({math.ceil(layers / columns) for columns in _COLUMNS}, key=lambda count: abs(math.log(
        sum(end - start + WIDTH + _GUTTER for start, end in _joined(spans, count)) / (count * step) / _ASPECT)))
    lefts, ends, end = [], [], 0.0
    for first, last in _joined(spans, rows):
        lefts.append(end - first + WIDTH / 2)
        ends.append(end + last - first + WIDTH / 2)
        end += last - first + WIDTH + _GUTTER
    bottom, top = -(rows - 0.5) * step, step / 2

    def at(point):
        place, rank = point
        return place + lefts[rank // rows], -(rank % rows) * step

    def line(way):
        found = [at(way[0])]
        for before, after in zip(way, way[1:]):
            first, last = before[1] // rows, after[1] // rows
            if first != last:  # below its column, and up again before the next one
                (x0, y0), (x1, _) = at(before), at(after)
                found += [(x0, bottom)] if before[1] % rows == rows - 1 else [
                    (x, y) for x in [ends[first] + (WIDTH + _GUTTER) / 2] for y in (y0 - step / 2, bottom)]
                gutter = ends[last - 1] + (WIDTH + _GUTTER) / 2
                found += [(gutter, bottom), (gutter, top), (x1, top)]
            found.append(at(after))
        return found

    return Layout(list(map(at, zip(places, ranks))), list(map(line, ways)))


def _spans(points):
    """The (least, greatest) of the places in each layer."""
    spans = {}
    for place, rank in points:
        first, last = spans.get(rank, (place, place))
        spans[rank] = min(first, place), max(last, place)
    return [spans[rank] for rank in sorted(spans)]


def _joined(spans, rows):
    """The (least, greatest) place in each column of so many layers."""
    columns = [spans[start:start + rows] for start in range(0, len(spans), rows)]
    return [(min(first for first, _ in column), max(last for _, last in column)) for column in columns]
