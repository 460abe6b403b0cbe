"""A run: one network, trained by one recipe at one width from one seed, and evaluated."""
import hashlib
import os
import shutil
import tempfile
import time
from typing import NamedTuple

import datasets
import evaluation
import networks
import post_training
import recipes
import training

import vai_q_tensorflow

_FINETUNING_SEED = 100  # added, for another order of the images than in the float training
_QUICK_STEPS = 3
_QUICK_IMAGES = 100


def _digest(*names):
    """A hash of source files next to this one."""
    digest = hashlib.md5()
    for name in names:
        with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), name), 'rb') as source:
            digest.update(source.read())
    return digest.hexdigest()


_SOURCES = _digest('datasets.py', 'networks.py')  # files that a float checkpoint depends on, besides its options


class Settings(NamedTuple):
    """quick: a few steps and images only; the results mean nothing."""
    float_dir: str
    quick: bool = False


def execute(run, settings):
    """Trains and evaluates; {name: value} of the results: steps, accuracy, cross_entropy, seconds.

    Trains the float checkpoint first if there is none.
    """
    digits = datasets.load(run.dataset)
    checkpoint = float_checkpoint(run, settings)
    started = time.time()
    test = digits.test
    if settings.quick:
        test = type(test)(*(values[::len(values) // _QUICK_IMAGES] for values in test))
    directory = tempfile.mkdtemp(prefix='accuracy_')
    try:
        steps, score = _measure(run, settings, checkpoint, digits.training, test, directory)
    finally:
        shutil.rmtree(directory)
    return dict(run._asdict(), steps=steps, accuracy=score.accuracy, cross_entropy=score.cross_entropy,
                seconds=round(time.time() - started, 1), quick=settings.quick)


def float_checkpoint(run, settings):
    """Prefix of the float checkpoint from which a run starts; trains it if there is none.

    Each network, dataset and set of options has its own. After a change of training.py that affects float training, remove the
    directory.
    """
    options = _options(recipes.FLOAT_OPTIONS, settings)
    version = hashlib.md5((_SOURCES + repr(options)).encode()).hexdigest()[:8]
    name = '-'.join([run.dataset, run.network, run.activation, str(run.seed), version])
    directory = os.path.join(settings.float_dir, name)
    if not os.path.exists(directory):
        unfinished = tempfile.mkdtemp(dir=_made(settings.float_dir))
        training.train(run.network, run.activation, datasets.load(run.dataset).training, run.seed, options, unfinished)
        try:
            os.rename(unfinished, directory)
        except OSError:  # another process was faster
            shutil.rmtree(unfinished)
    return os.path.join(directory, 'model.ckpt')


def _measure(run, settings, checkpoint, digits, test, directory):
    """(steps of finetuning, evaluation.Score)"""
    config = run.bits and vai_q_tensorflow.QuantizeConfig(
        [networks.INPUT], [networks.OUTPUT], [[-1, *digits.images.shape[1:]]], weight_bit=run.bits, activation_bit=run.bits,
        output_dir=directory)
    if run.recipe == recipes.FLOAT:
        return 0, evaluation.of_checkpoint(run.network, run.activation, checkpoint, test)
    recipe = recipes.RECIPES.get(run.recipe, recipes.Recipe({}, trained=run.recipe != recipes.POST_TRAINING))
    config = config and config.replace(**recipe.fields)
    if not recipe.trained:
        number = 1 if settings.quick else recipes.CALIBRATION_BATCHES
        batches = [images for images, _ in datasets.batches(digits, recipe.options.batch, number, run.seed)]
        frozen = post_training.freeze(run.network, run.activation, checkpoint, digits.images)
        return 0, evaluation.of_model(post_training.quantize(frozen, batches, config, 'fast'), test)
    options = _options(recipe.options, settings)
    if options.averaged:
        config = config.replace(average_step=int(options.steps * (1 - options.averaged)))
    trained = training.train(run.network, run.activation, digits, _FINETUNING_SEED + run.seed, options, directory, checkpoint,
                             config)
    if options.averaged:
        trained = vai_q_tensorflow.averaged_checkpoint(trained)
    return options.steps, evaluation.of_checkpoint(run.network, run.activation, trained, test, config)


def _options(options, settings):
    return options._replace(steps=_QUICK_STEPS) if settings.quick else options


def _made(directory):
    os.makedirs(directory, exist_ok=True)
    return directory
