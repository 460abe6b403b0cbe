"""vai_q_tf: quantization for TensorFlow 1.15 models that run on a DPU. Import it as `vai_q_tensorflow`.

It takes the place of `vai_q_tensorflow`, AMD's quantizer in Vitis AI, and has its names, options and file formats.

The public names, and TensorFlow with them, are imported on first access, so that the command starts without TensorFlow.
"""
import importlib
import importlib.machinery
import sys
from types import ModuleType  # the name `types` is that of vai_q_tf/types.py
from typing import TYPE_CHECKING, Any, List, Optional, Sequence

from vai_q_tf.version import __git_version__, __version__

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
    """Imports the modules of _MOVED under their old names."""

    def find_spec(self, name: str, path: Optional[Sequence[str]],
                  target: Optional[ModuleType] = None) -> Optional[importlib.machinery.ModuleSpec]:
        """A spec with this loader for an old name, None for other names."""
        # The stubs of ModuleSpec ask for a subclass of Loader.
        return importlib.machinery.ModuleSpec(name, self) if name in _MOVED else None  # type: ignore

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        """None asks the import system for an empty module."""

    def exec_module(self, module: ModuleType) -> None:
        """Replaces the empty module by the moved one."""
        sys.modules[module.__name__] = importlib.import_module(_MOVED[module.__name__])


def _import_module(name: str) -> Optional[ModuleType]:
    """The module of that name in this package, or None; importing it also makes it an attribute of the package."""
    path = '{}.{}'.format(__name__, name)
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError as error:
        if error.name != path:
            raise
        return None


class _Package(ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name in __all__ and name != 'errors':
            self._import_public()
        elif not name.startswith('__'):
            _import_module(name)
        if name not in vars(self):
            raise AttributeError('module {!r} has no attribute {!r}'.format(self.__name__, name))
        return vars(self)[name]

    def __setattr__(self, name: str, value: Any) -> None:
        # The import system makes every folder an attribute of its package, but `lint` has to stay the function.
        if name != 'lint' or not isinstance(value, ModuleType):
            super().__setattr__(name, value)

    def __dir__(self) -> List[str]:
        return sorted(set(vars(self)).union(__all__))

    def _import_public(self) -> None:
        # During this import, the modules that it loads see the names that are there already.
        public = importlib.import_module(__name__ + '.public')
        vars(self).update((name, value) for name, value in vars(public).items() if name in __all__)


sys.modules[__name__].__class__ = _Package
sys.meta_path.append(_MovedFinder())
