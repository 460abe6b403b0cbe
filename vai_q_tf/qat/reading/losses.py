"""The losses that a training wrote into event files."""
import glob
import os
import re
from typing import Dict, Iterator, NamedTuple, Optional, Sequence, Tuple

import tensorflow.compat.v1 as tf
from google.protobuf.message import DecodeError

_TAG = re.compile(r'(?:.*/)?(?:total_)?loss(?:_\d+)?')
_LARGEST = 64 << 20  # bytes of a file that is read


class _Loss(NamedTuple):
    tag: str
    step: int
    value: float


def read_losses(directory: str) -> Dict[str, Sequence[Tuple[int, float]]]:
    """{tag: [(step, loss), ...]} of the scalars called loss, loss_1, total_loss and the like; {} if there are none.

    A damaged file is read up to the damage, and one of more than 64 MB is skipped; both are logged.
    """
    found: Dict[str, Dict[int, float]] = {}
    for path in _event_files(directory):
        for loss in _losses(path):
            found.setdefault(loss.tag, {})[loss.step] = loss.value
    return {tag: sorted(points.items()) for tag, points in found.items()}


def _event_files(directory: str) -> Iterator[str]:
    """The event files to read, the least recently changed first."""
    paths = glob.glob(os.path.join(glob.escape(directory), '*tfevents*'))
    for path in sorted(filter(os.path.isfile, paths), key=os.path.getmtime):
        if os.path.getsize(path) > _LARGEST:
            tf.logging.info('The losses in %s are left out: the file has more than %d MB.', path, _LARGEST >> 20)
        else:
            yield path


def _losses(path: str) -> Iterator[_Loss]:
    try:
        for event in tf.train.summary_iterator(path):
            for value in event.summary.value:
                number = _number(value) if _TAG.fullmatch(value.tag) else None
                if number is not None:
                    yield _Loss(value.tag, event.step, number)
    except (tf.errors.OpError, DecodeError) as error:
        tf.logging.info('The event file %s is read up to where it is damaged: %s', path, error)


def _number(value: tf.Summary.Value) -> Optional[float]:
    """The scalar of a Summary.Value; None for anything else."""
    if value.WhichOneof('value') == 'simple_value':
        return value.simple_value
    if value.WhichOneof('value') == 'tensor':
        array = tf.make_ndarray(value.tensor)
        return float(array) if array.size == 1 and array.dtype.kind == 'f' else None
    return None
