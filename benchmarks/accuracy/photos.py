"""Photos to calibrate with and other photos to evaluate with, cropped and prepared for EfficientNet-Lite0.

They come with scikit-image, scikit-learn and Debian's opencv-doc. No photo, and no second shot of its scene, is on both sides.
Each side is shuffled, the same way each time, so that no source stands at one end.
"""
import functools
import os
from typing import NamedTuple

import numpy as np
import results
import tensorflow as tf

DIRECTORY = os.path.join(results.ROOT, '.venv', 'photos')
SIZE = 224  # pixels, height and width
CALIBRATION_CROPS, EVALUATION_CROPS = 2, 3  # of each photo

_SKIMAGE = 'skimage/data/'
_SKLEARN = 'sklearn/datasets/images/'
_EXAMPLES = 'usr/share/doc/opencv-doc/examples/'
_HTML = 'usr/share/doc/opencv-doc/opencv4/html/'


def _below(directory, names):
    return tuple(directory + name for name in names.split())


CALIBRATION = (
    _below(_SKIMAGE, 'camera.png coins.png gravel.png retina.jpg')
    + _below(_EXAMPLES + 'data/', 'apple.jpg aero1.jpg baboon.jpg basketball1.png box_in_scene.png graf1.png leuvenA.jpg '
                                  'starry_night.jpg stuff.jpg')
    + _below(_EXAMPLES, 'alphamat/input_images/plant.jpg dnn_superres/butterfly.png text/scenetext02.jpg text/scenetext03.jpg '
                        'text/scenetext06.jpg text/scenetext_segmented_word01.jpg text/scenetext_segmented_word04.jpg')
    + _below(_HTML, '230501201_1.jpg Histogram_Calculation_Original_Image.jpg Remap_Tutorial_Original_Image.jpg '
                    'astra_color.jpg bicubicOutput.jpg detect_test2.jpg feature_building.jpg handSrc.jpg ldr_robertson.jpg '
                    'realsense.jpg'))
EVALUATION = (
    _below(_SKIMAGE, 'astronaut.png brick.png chelsea.png coffee.png motorcycle_left.png rocket.jpg')
    + _below(_SKLEARN, 'china.jpg flower.jpg')
    + _below(_EXAMPLES + 'data/', 'aloeL.jpg board.jpg building.jpg butterfly.jpg chicky_512.png ela_original.jpg fruits.jpg '
                                  'home.jpg left01.jpg licenseplate_motion.jpg messi5.jpg orange.jpg rubberwhale1.png '
                                  'smarties.png squirrel_cls.jpg sudoku.png')
    + _below(_EXAMPLES, 'hfs/data/000.jpg reg/home.png text/scenetext01.jpg text/scenetext04.jpg text/scenetext05.jpg '
                        'text/scenetext_segmented_word02.jpg')
    + _below(_HTML, '227943776_1.jpg Background_Subtraction_Tutorial_frame.jpg Harris_Detector_Original_Image.jpg '
                    'Laplace_Operator_Tutorial_Original_Image.jpg bus_det.jpg cat_det.jpg detect_test1.jpg '
                    'homography_pose_estimation.jpg pexels_double_decker_bus.jpg retina_TreeHdr_small.jpg space_shuttle.jpg '
                    'yolo.jpg'))


class Photos(NamedTuple):
    """Both float32 [n, 224, 224, 3], prepared; the crops of one photo lie side by side."""
    calibration: np.ndarray
    evaluation: np.ndarray


@functools.lru_cache(maxsize=None)
def load():
    """The Photos.

    Raises:
      SystemExit: they are not on this machine; the message says how to fetch them.
    """
    missing = [name for name in CALIBRATION + EVALUATION if not os.path.exists(os.path.join(DIRECTORY, name))]
    if missing:
        raise SystemExit('error: {} photos are not in {}, among them {}. Run `make accuracy`, which fetches them without '
                         'root'.format(len(missing), DIRECTORY, missing[0]))
    return Photos(_prepared(CALIBRATION, CALIBRATION_CROPS), _prepared(EVALUATION, EVALUATION_CROPS))


def crops(height, width):
    """The squares (top, left, side) that are cut out of a photo, in pixels, the most usual one first.

    The middle, 7/8 of the short side; then 3/4 of it from the lower left and from the upper right.
    """
    middle, corner = min(height, width) * 7 // 8, min(height, width) * 3 // 4
    return (((height - middle) // 2, (width - middle) // 2, middle), (height - corner, 0, corner), (0, width - corner, corner))


def prepare(pixels):
    """What the network expects of RGB pixels from 0 to 255."""
    return (pixels - np.float32(127)) / np.float32(128)


def _prepared(names, number):
    """The first crops of each photo, [photos * number, 224, 224, 3], the photos shuffled."""
    names = np.random.RandomState(1).permutation(names)
    with tf.Graph().as_default(), tf.Session() as session:
        file = tf.placeholder(tf.string, [])
        decoded = tf.image.decode_image(file, channels=3)
        photo = tf.placeholder(tf.uint8, [None, None, 3])
        resized = tf.compat.v2.image.resize(photo, [SIZE, SIZE], tf.compat.v2.image.ResizeMethod.BICUBIC, antialias=True)
        found = []
        for name in names:
            with open(os.path.join(DIRECTORY, name), 'rb') as stream:
                values = session.run(decoded, {file: stream.read()})
            found += [session.run(resized, {photo: values[top:top + side, left:left + side]})
                      for top, left, side in crops(*values.shape[:2])[:number]]
    return prepare(np.clip(np.stack(found), 0, 255))
