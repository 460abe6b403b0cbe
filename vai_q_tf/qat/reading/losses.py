"""The losses that a training wrote into event files."""
import glob
import os
import re

import tensorflow.compat.v1 as tf
from google.protobuf.message import DecodeError  # type: ignore

_TAG = re.compile(r'(?:.*/)?(?:total_)?loss(?:_\d+)?')
_LARGEST = 64 << 20  # bytes of a file that is read


def read_losses(directory):
    """{tag: [(step, loss), ...]} of the scalars called loss, loss_1, total_loss and the like, {} where there are none.

    A damaged file counts up to where it can be read; one of more than 64 MB is left out. Either is logged.
    """
    found = {}
    paths = glob.glob(os.path.join(glob.escape(directory), '*tfevents*'))
    for path in sorted(filter(os.path.isfile, paths), key=os.path.getmtime):
        if os.path.getsize(path) > _LARGEST:
            tf.logging.info('The losses in %s are left out: the file has more than %d MB.', path, _LARGEST >> 20)
            continue
        try:
            for event in tf.train.summary_iterator(path):
                for value in event.summary.value:
                    if _TAG.fullmatch(value.tag):
                        number = _number(value)
                        if number is not None:
                            found.setdefault(value.tag, {})[event.step] = number
        except (tf.errors.OpError, DecodeError) as error:
            tf.logging.info('The event file %s is read up to where it is damaged: %s', path, error)
    return {tag: sorted(points.items()) for tag, points in found.items()}


def _number(value):
    """The scalar of a Summary.Value; None for anything else."""
    if value.WhichOneof('value') == 'simple_value':
        return value.simple_value
    if value.WhichOneof('value') == 'tensor':
        array = tf.make_ndarray(value.tensor)
        return float(array) if array.size == 1 and array.dtype.kind == 'f' else None
    return None
