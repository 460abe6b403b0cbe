"""Finds the node on which TensorFlow crashes, in forked processes that crash instead of this one."""
import faulthandler
import os
from typing import Optional, Sequence

import tensorflow.compat.v1 as tf

from vai_q_tf.graph import graphdef_editor as editor
from vai_q_tf.graph.view import GraphView


def crashing_node(graph_def: tf.GraphDef) -> Optional[tf.NodeDef]:
    """The NodeDef that ends the process when TensorFlow imports the GraphDef; None if the import does not end it.

    Forks this process, which must not have opened a session yet, about log2(number of nodes) times.
    """
    view = GraphView(graph_def)
    # `editor.copy` drops control inputs and colocation, which may name a node outside the part that is imported.
    order = [editor.copy(view.node(name)) for name in view.upstream(view.names)]
    if not _crashes(graph_def, order):
        return None
    fits, crashes = 0, len(order)
    while crashes - fits > 1:
        middle = (fits + crashes) // 2
        if _crashes(graph_def, order[:middle]):
            crashes = middle
        else:
            fits = middle
    return view.node(order[crashes - 1].name)


def _crashes(graph_def: tf.GraphDef, nodes: Sequence[tf.NodeDef]) -> bool:
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
