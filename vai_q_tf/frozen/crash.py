"""Which node of a graph TensorFlow crashes on, found in processes that crash."""
import faulthandler
import os

import tensorflow.compat.v1 as tf

from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.view import GraphView


def crashing_node(graph_def):
    """The NodeDef with which TensorFlow's import of a GraphDef ends the process; None where the import does not end it.

    It forks this process, which must not have opened a session yet: a few times for a graph of any size.
    """
    view = GraphView(graph_def)
    # What a part of the graph may lack is left out: control inputs, and what a node is to be beside.
    order = [editor.copy(view.node(name)) for name in view.upstream(view.names)]
    fits, crashes = 0, len(order)
    if not _crashes(graph_def, order):
        return None
    while crashes - fits > 1:
        middle = (fits + crashes) // 2
        if _crashes(graph_def, order[:middle]):
            crashes = middle
        else:
            fits = middle
    return view.node(order[crashes - 1].name)


def _crashes(graph_def, nodes):
    part = editor.subgraph(graph_def, nodes)
    child = os.fork()
    if not child:
        faulthandler.disable()
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            with tf.Graph().as_default():
                tf.import_graph_def(part, name='')
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])
