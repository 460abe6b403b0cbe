"""vai_q_tf: quantization for TensorFlow 1.15 models that run on a DPU. Import it as `vai_q_tensorflow`.

The public names, and TensorFlow with them, are imported when one of them is first asked for: the command does without as long
as it can.
"""
import importlib
import importlib.machinery
import sys
from types import ModuleType  # the name `types` is that of vai_q_tf/types.py

from vai_q_tf.version import __git_version__, __version__

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vai_q_tf.public import *  # noqa: F403

__all__ = [
    'Analysis', 'Comparison', 'CreateQuantizeDeployGraph', 'CreateQuantizeEvaluationGraph', 'CreateQuantizeTrainingGraph',
    'Distillation', 'Finding', 'FixNeuron', 'FrozenFiles', 'Inspection', 'QuantizeCallback', 'QuantizeCheckpointListener',
    'QuantizeConfig', 'QuantizeError', 'QuantizeExporter', 'QuantizeOptimizer', 'QuantizePositionHook',
    'QuantizeTrainingHook', 'Sensitivity', 'SynchronizePositionsHook', '__git_version__', '__version__', 'analyze',
    'averaged_checkpoint', 'compare', 'convert_datatype', 'deploy_checkpoint', 'distillation_loss', 'dump', 'errors',
    'fix_neuron', 'inspect', 'lint', 'load_library', 'quantize_estimator', 'quantize_evaluate', 'quantize_frozen',
    'quantize_keras_model', 'quantize_meta_graph', 'quantize_model_fn', 'quantize_train', 'sensitivity', 'set_verbosity',
    'slim_training_arguments', 'update',
]

# Import paths of 0.1.0 that scripts use.
_MOVED = {__name__ + '.hooks.keras_callback': __name__ + '.integrations.keras.callback',
          __name__ + '.qat.metagraph': __name__ + '.integrations.metagraph'}


class _MovedFinder:
    def find_spec(self, name, path, target=None):
        return importlib.machinery.ModuleSpec(name, self) if name in _MOVED else None

    def create_module(self, spec):
        """None: an empty module will do."""

    def exec_module(self, module):
        sys.modules[module.__name__] = importlib.import_module(_MOVED[module.__name__])


def _import_module(name):
    """The module of the package, which it becomes an attribute of; None where there is none."""
    try:
        return importlib.import_module('{}.{}'.format(__name__, name))
    except ModuleNotFoundError as error:
        if error.name != '{}.{}'.format(__name__, name):
            raise
        return None


class _Package(ModuleType):
    def __getattr__(self, name):
        if name in __all__ and name != 'errors':
            self._import_public()
        elif not name.startswith('__'):
            _import_module(name)
        if name not in vars(self):
            raise AttributeError('module {!r} has no attribute {!r}'.format(self.__name__, name))
        return vars(self)[name]

    def __setattr__(self, name, value):
        # The import system makes every folder an attribute of its package; `lint` is the function.
        if name != 'lint' or not isinstance(value, ModuleType):
            super().__setattr__(name, value)

    def __dir__(self):
        return sorted(set(vars(self)).union(__all__))

    def _import_public(self):
        # While it is being imported, what it imports finds the names that are there already.
        public = _import_module('public')
        vars(self).update((name, value) for name, value in vars(public).items() if name in __all__)


sys.modules[__name__].__class__ = _Package
sys.meta_path.append(_MovedFinder())
