"""Rewriter: the edits that one pass makes to a GraphDef.

A pass looks at `rewriter.view`, which stays as it is, and notes edits; `result()` carries all of them out together. So the
matches of one pass see one graph, and a pass costs the same on a graph of any size per node.
"""
import tensorflow.compat.v1 as tf

from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.dependence import reach
from vai_q_tf.graph.view import REDEFINED, RESULTS, SOURCE_NODES, GraphView, known_value, node_name, normalise


class Rewriter:
    """Edits of `graph_def`.

    Args:
      graph_def: a GraphDef, read only.
      protected: names of the nodes that keep their name and their meaning: inputs, outputs, what other parts of the graph read.

    Attributes:
      view: the GraphView of `graph_def`. protected: frozenset of the names.
    """

    def __init__(self, graph_def, protected):
        self.view = GraphView(graph_def)
        self.protected = frozenset(protected)
        self._graph_def = graph_def
        self._nodes = {}  # name -> NodeDef that is new or replaces one of the view
        self._redirects = {}  # tensor -> (tensor, names of the nodes that go on reading the former)
        self._shortcuts = {}  # tensor -> where redirects that count for all readers lead
        self._names, self._numbers = set(self.view.names), {}

    def unique(self, name):
        """`name`, with a number after it where it is taken; it counts as taken from now on."""
        unique, number = name, self._numbers.get(name, 0)
        while unique in self._names:
            number += 1
            unique = '{}_{}'.format(name, number)
        self._numbers[name] = number
        self._names.add(unique)
        return unique

    def node(self, name):
        """The NodeDef of that name with the edits so far; not to be changed: `add` a copy."""
        name = node_name(name)
        return self._nodes.get(name) or self.view.node(name)

    def value(self, tensor):
        """The value of a Const (through Identity nodes) as an ndarray; None for another node, or an unknown value."""
        return known_value(self.node(self.view.skip_identity(tensor)))

    def is_read_only_by(self, tensor, readers):
        """Whether nothing but the nodes `readers` reads the tensor, and it is not protected."""
        return node_name(tensor) not in self.protected and all(name in readers for name, _ in self.view.consumers(tensor))

    def add(self, node):
        """Adds a NodeDef, whose name came from `unique`, or puts it in the place of the node of its name."""
        self._nodes[node.name] = node
        self._names.add(node.name)

    def set_value(self, name, value):
        """Gives a Const of the view another value (an ndarray), of the same type."""
        old = self.node(name)
        self.replace(editor.constant(old.name, old.attr['dtype'].type, value))

    def replace(self, new):
        """Puts the Const NodeDef `new` in the place of the one of its name, with what that waits for and is noted of it."""
        old = self.node(new.name)
        new.input.extend(old.input)
        self._inherit(new, old)
        self.add(new)

    def set_input(self, name, index, tensor):
        """Makes data input `index` of the node `name` read `tensor`."""
        new = editor.exact_copy(self.node(name))
        new.input[index] = tensor
        self.add(new)

    def redirect(self, tensor, target, but=()):
        """Makes all that read `tensor`, new nodes included, read `target`; the nodes named in `but` go on reading it.

        Must not be used on a protected node: give the node that has the result its name, see `append`.
        """
        self._redirects[normalise(tensor)] = normalise(target), frozenset(but)

    def append(self, name, nodes, inner):
        """Puts the chain of NodeDefs `nodes` after output 0 of the node `name`: the last has the result from now on.

        Where `name` is protected, the last one takes that name, and the node that had it is called `inner` (made unique).
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

    def inherit_sources(self, node, *names):
        """Notes in the NodeDef `node` that it stands for the nodes `names` too, and for all that those stood for."""
        known = dict.fromkeys(node.attr[SOURCE_NODES].list.s)
        for name in names:
            known[name.encode()] = None
            known.update(dict.fromkeys(_origins(self.node(name)) if name in self.view else ()))
        known.pop(node.name.encode(), None)
        if known:
            node.attr[SOURCE_NODES].list.s[:] = list(known)
        else:
            node.attr.pop(SOURCE_NODES, None)

    def _inherit(self, new, old):
        for key in (SOURCE_NODES, '_output_shapes'):
            if key in old.attr:
                new.attr[key].CopyFrom(old.attr[key])

    def result(self):
        """The edited GraphDef, without the nodes that no protected node depends on any more; `graph_def` itself if nothing
        was edited. Control inputs go to what the inputs were redirected to, and are dropped with the nodes they name."""
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
            wanted = [reference for reference in inputs[node.name] if not reference.startswith('^') or reference[1:] in used]
            node.input[:] = wanted
        return result

    def _note_results(self, result):
        """Notes in the nodes of the GraphDef `result` which tensors others read them in place of."""
        by_name, found = {node.name: node for node in result.node}, {}
        for tensor, (target, _) in self._redirects.items():
            target = self._resolve(target, '')
            node = by_name.get(node_name(target))
            if node is not None and target == node.name:
                before = self.view.node(node_name(tensor)) if node_name(tensor) in self.view else None
                earlier = results_of(before) if before is not None and tensor == before.name else []
                found.setdefault(target, dict.fromkeys(results_of(node))).update(dict.fromkeys([tensor] + earlier))
        for name, tensors in found.items():
            by_name[name].attr[RESULTS].list.s[:] = [tensor.encode() for tensor in tensors if tensor != name]

    def _inputs(self, node):
        resolved = []
        for reference in node.input:
            target = self._resolve(reference, node.name)
            if target not in resolved or not target.startswith('^'):
                resolved.append(target)
        return resolved

    def _resolve(self, reference, reader):
        control = reference.startswith('^')
        tensor = normalise(reference.lstrip('^'))
        passed = []
        while tensor in self._redirects:
            target, but = self._redirects[tensor]
            if but:
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


def results_of(node):
    """The tensors of the float graph in whose place others read the NodeDef `node`."""
    return [tensor.decode() for tensor in node.attr[RESULTS].list.s] if RESULTS in node.attr else []


def redefined(node):
    """The NodeDef `node`, noted to compute something else than the node of its name did."""
    node.attr[REDEFINED].b = True
    return node


def _origins(node):
    # Reading an attr that is not there would add it.
    return list(node.attr[SOURCE_NODES].list.s) if SOURCE_NODES in node.attr else []


def make_node(op, name, inputs, like=None, **attrs):
    """A NodeDef. attrs: values of the op's attributes (a tf.DType, bool, int, float, str or list of int).

    like: a NodeDef whose `_output_shapes` it gets.
    """
    result = tf.NodeDef(name=name, op=op, input=inputs)
    for key, value in attrs.items():
        _set_attr(result.attr[key], value)
    if like is not None and '_output_shapes' in like.attr:
        result.attr['_output_shapes'].CopyFrom(like.attr['_output_shapes'])
    return result


def _set_attr(attr, value):
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


