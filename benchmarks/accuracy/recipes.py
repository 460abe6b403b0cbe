"""What is compared: the recipes of quantization-aware training, and the settings that they share.

A new recipe is a new line in RECIPES.
"""
from typing import Container, NamedTuple

BITS = (4, 8, 6)  # the most important first
SEEDS = (1, 2, 3)
ACTIVATIONS = {'plain': 'relu', 'residual': 'relu', 'depthwise': 'relu6', 'inverted': 'relu6'}
DATASETS = {'fashion': BITS, 'cifar': (4, 8), 'digits': (4,)}  # the widths of a dataset, unless options say otherwise

_OF_FASHION = ('fashion', 'fashion_validation')
_OF_FASHION_AND_CIFAR = (*_OF_FASHION, 'cifar', 'cifar_validation')

FLOAT = 'float'
CONTINUED = 'float, trained on'
POST_TRAINING = 'post-training'
CALIBRATION_BATCHES = 16


class Options(NamedTuple):
    """How a network is trained.

    batch: images a step.
    rate: learning rate of the first step. decays: whether it falls to 0 along a cosine; else it stays.
    optimizer: 'adam' or 'momentum'.
    distilled: whether the float network teaches, too.
    averaged: the share of the steps, the last ones, whose mean weights are evaluated; 0: the last weights.
    """
    steps: int = 300
    rate: float = 2e-3
    optimizer: str = 'adam'
    batch: int = 64
    distilled: bool = False
    decays: bool = True
    averaged: float = 0.0


class Recipe(NamedTuple):
    """A way to finetune.

    fields: those of QuantizeConfig that differ from its defaults.
    trained: whether it trains; else it calibrates the frozen network.
    datasets, bits: with these only it is measured.
    """
    fields: dict
    options: Options = Options()
    trained: bool = True
    datasets: Container[str] = (*_OF_FASHION_AND_CIFAR, 'digits')
    bits: Container[int] = range(1, 25)


FLOAT_OPTIONS = Options(steps=2000, rate=4e-3)
_LONG = Options(steps=FLOAT_OPTIONS.steps)

RECIPES = {
    'default': Recipe({}),
    'default, distilled': Recipe({}, Options(distilled=True)),
    'default, biases of 8 bits': Recipe(dict(bias_bit=8), datasets=_OF_FASHION, bits=(4, 6)),
    'default, biases of 8 bits, distilled': Recipe(
        dict(bias_bit=8), Options(distilled=True), datasets=_OF_FASHION, bits=(4,)),
    'default, learned positions': Recipe(
        dict(position_update='learned', freeze_position_step=200), datasets=(*_OF_FASHION, 'digits')),
    'default, constant rate': Recipe({}, Options(decays=False), datasets=_OF_FASHION, bits=(4,)),
    'default, constant rate, averaged weights': Recipe(
        {}, Options(decays=False, averaged=0.5), datasets=_OF_FASHION, bits=(4,)),
    'batch statistics, moving positions': Recipe(dict(recipe='manual')),
    'the same, both frozen for the last third': Recipe(
        dict(recipe='manual', freeze_bn_step=200, freeze_position_step=200), datasets=_OF_FASHION),
    'original': Recipe(dict(recipe='manual', bn_fold='moving', position_update='current', gradient='straight_through')),
    'post-training, method 2': Recipe(dict(method=2), trained=False, datasets=_OF_FASHION),
    'default, long': Recipe({}, _LONG, datasets=_OF_FASHION_AND_CIFAR, bits=(4,)),
    'default, long, batch statistics at first': Recipe(
        dict(freeze_bn_step=int(0.65 * _LONG.steps)), _LONG, datasets=_OF_FASHION_AND_CIFAR, bits=(4,)),
}
# What the guide advises by: (row, recipe).
ADVICE = (('post-training, without any training', POST_TRAINING), ('the same with `method=2`', 'post-training, method 2'),
          ('the default', 'default'), ('the default, 2,000 steps', 'default, long'),
          ('the same with `freeze_bn_step=0.65`', 'default, long, batch statistics at first'),
          ('distillation', 'default, distilled'), ('`bias_bit=8`', 'default, biases of 8 bits'),
          ('`bias_bit=8` and distillation', 'default, biases of 8 bits, distilled'),
          ("`position_update='learned'`", 'default, learned positions'),
          ('a learning rate that stays as it is', 'default, constant rate'),
          ('the same with `average_step`', 'default, constant rate, averaged weights'),
          ("`recipe='manual'`: statistics of the batch, positions that move", 'batch statistics, moving positions'),
          ("settings close to those of vai_q_tensorflow", 'original'))
