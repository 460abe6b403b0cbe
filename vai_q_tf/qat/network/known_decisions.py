"""The Decisions for the networks of live training graphs, so that a listener need not decide a second time."""
import weakref
from typing import MutableMapping, NamedTuple, Optional

import tensorflow.compat.v1 as tf

from vai_q_tf.config import QuantizeConfig
from vai_q_tf.qat.network.decision import Decision


class _Known(NamedTuple):
    """A Decision, and the text of the config that it was made for."""
    config: str
    decision: Decision


_KNOWN: MutableMapping[tf.Graph, _Known] = weakref.WeakKeyDictionary()


def note(graph: tf.Graph, config: QuantizeConfig, decision: Decision) -> None:
    """Notes the Decision for the network of a live training graph."""
    _KNOWN[graph] = _Known(_text(config), decision)


def find(graph: tf.Graph, config: QuantizeConfig) -> Optional[Decision]:
    """The Decision for the network of a training graph and a config; None if it is not known, as after a restart."""
    known = _KNOWN.get(graph)
    return known.decision if known and known.config == _text(config) else None


def _text(config: QuantizeConfig) -> str:
    """All fields of a config but its output_dir."""
    return repr(config.replace(output_dir='anywhere'))
