"""Calibration data: finds the user's input function by name, calls it once a step, and checks the result before it is fed.

An input function takes the number of the step and returns {name of a placeholder: array}. It runs under a separate default
graph, one for the import of its module and all calls, so that it may add ops, even on every call, and reset that graph.
"""
import importlib
import inspect
import os
import sys
import traceback
import warnings
from types import ModuleType
from typing import Any, Callable, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import tensorflow.compat.v1 as tf
from absl import flags

from vai_q_tf import errors
from vai_q_tf.frozen.isolated_defaults import IsolatedDefaults
from vai_q_tf.graph.dependence import operands, reach
from vai_q_tf.graph.view import GraphView, node_name
from vai_q_tf.types import Feed

_PLACEHOLDERS = ('Placeholder', 'PlaceholderV2')
_OPTIONAL = 'PlaceholderWithDefault'
_END_OF_DATA = (StopIteration, IndexError, tf.errors.OutOfRangeError)
_Shape = Sequence[int]  # -1 for an unknown dimension


class InputFn:
    """An input function with the default graph that it runs under.

    Args:
      function: takes the step as its only positional argument, or as its only keyword-only one.
      defaults: the IsolatedDefaults to call it under; new ones by default.

    Raises:
      QuantizeError: INVALID_INPUT_FN if the function cannot take a step.
    """

    def __init__(self, function: Callable, defaults: Optional[IsolatedDefaults] = None) -> None:
        self._function = function
        self._defaults = defaults or IsolatedDefaults()
        self._keyword = _step_keyword(function)

    def __call__(self, step: int) -> Any:
        with self._defaults.inside():
            return self._function(**{self._keyword: step}) if self._keyword else self._function(step)


def load_input_fn(path: Optional[str]) -> InputFn:
    """The InputFn of the function 'module.function' (also 'module.object.method'); the working directory is importable.

    Raises:
      QuantizeError: INVALID_INPUT_FN if there is no such function, or if importing its module fails (why, file and line).
    """
    parts = path.strip().split('.') if path else []
    if not path or len(parts) < 2 or not all(parts):
        raise _import_error('input_fn is {!r}; expected module_name.function_name, such as my_input_fn.calib_input'.format(
            path))
    # A module that reads TensorFlow's flags would make them parse the command line of vai_q_tf.
    flags.FLAGS.mark_as_parsed()
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    defaults = IsolatedDefaults()
    with defaults.inside():
        module, names = _import(parts[:-1])
    found = _attribute(module, names + parts[-1:], path)
    if not callable(found):
        raise _import_error('input_fn {!r} is a {}; expected a function that takes the step'.format(path, type(found).__name__))
    return InputFn(found, defaults)


def _import(parts: List[str]) -> Tuple[ModuleType, List[str]]:
    """Imports the longest start of 'parts[0].parts[1]...' that is a module; returns it and the other parts."""
    for end in range(len(parts), 0, -1):
        name = '.'.join(parts[:end])
        try:
            return importlib.import_module(name), parts[end:]
        except (Exception, SystemExit) as error:
            missing = error.name if isinstance(error, ModuleNotFoundError) else None
            if end > 1 and missing and (missing == name or name.startswith(missing + '.')):
                continue  # this part may be an attribute of the module before it
            raise _import_error(
                'There is no module {!r} in the working directory ({}) or on the path of Python'.format(name, os.getcwd())
                if missing == name else 'Importing {!r} failed: {}'.format(name, _describe(error))) from error
    raise AssertionError(parts)


def _attribute(found: Any, names: Iterable[str], path: str) -> Any:
    for name in names:
        if not hasattr(found, name):
            raise _import_error('input_fn {!r}: {} has no {!r}{}'.format(
                path, getattr(found, '__name__', name), name, errors.did_you_mean(name, dir(found))))
        found = getattr(found, name)
    return found


def _import_error(detail: str) -> errors.QuantizeError:
    return _error('Fail to import', detail)


class InputReader:
    """Calls an input function and checks its results.

    Args:
      input_fn: an InputFn, or any function that can be one.
      graph_def: the whole graph of the user, before any node is removed from it.
      fetches: names of the nodes to be run; every placeholder that they depend on must be fed.
      steps: the planned number of steps, for messages.
      shapes: {node: shape}, -1 for an unknown dimension: shapes of placeholders that are more exact than those in the graph.
        The batch (first dimension) is not compared, and nodes other than placeholders are ignored.

    Attributes:
      placeholders: names of the placeholders that every step must feed.

    Raises:
      QuantizeError: INVALID_INPUT_FN for a function that cannot take a step; LENGTH_MISMATCH if `shapes` contradict the graph.
    """

    def __init__(self, input_fn: Callable, graph_def: tf.GraphDef, fetches: Iterable[str], steps: int,
                 shapes: Optional[Mapping[str, _Shape]] = None) -> None:
        self._input_fn = input_fn if isinstance(input_fn, InputFn) else InputFn(input_fn)
        self._view = GraphView(graph_def)
        self._is_model = any(self._view.op(name) == 'FixNeuron' for name in self._view.names)
        self._steps = steps
        needed = reach(map(node_name, fetches), lambda name: operands(self._view, name))
        self.placeholders = tuple(name for name in self._view.names
                                  if name in needed and self._view.op(name) in _PLACEHOLDERS)
        self._shapes = {name: self._view.shape(name) for name in self._view.names
                        if self._view.op(name) in _PLACEHOLDERS + (_OPTIONAL,)}
        for name, shape in (shapes or {}).items():
            name = node_name(name)
            if name in self._shapes:
                self._shapes[name] = _merged(name, self._shapes[name], shape)
        self._used = needed.intersection(self._shapes)

    def feed(self, step: int) -> Feed:
        """{'placeholder:0': ndarray of its type} of a step, for all placeholders that the fetches depend on.

        Raises:
          QuantizeError: INVALID_INPUT_FN, with the step, the placeholder, the expected and the actual value.
        """
        values = self._call(step)
        if not isinstance(values, dict):
            raise self._wrong(step, 'it returned {}; expected a dict {{placeholder name: array}}'.format(_kind(values)))
        found = self._by_placeholder(step, values)
        missing = [name for name in self.placeholders if name not in found]
        if missing:
            raise self._wrong(step, 'it did not return {}; it returned {}'.format(
                _listed(missing), _listed(values) if values else 'an empty dict'))
        return {name + ':0': self._value(step, name, value) for name, value in found.items() if name in self._used}

    def _call(self, step: int) -> Any:
        try:
            return self._input_fn(step)
        except _END_OF_DATA as error:
            raise self._wrong(step, 'it ran out of data at step {} of {} ({}); lower calib_iter or give it more data'.format(
                step, self._steps, _describe(error))) from error
        except (Exception, SystemExit) as error:
            raise self._wrong(step, _describe(error)) from error

    def _by_placeholder(self, step: int, values: Dict[Any, Any]) -> Dict[str, Any]:
        found: Dict[str, Any] = {}
        for key, value in values.items():
            if self._is_lost_phase(key, value):
                continue
            name = self._placeholder(step, key)
            if name in found:
                raise self._wrong(step, 'it returned {!r} twice'.format(name))
            found[name] = value
        return found

    def _is_lost_phase(self, key: Any, value: Any) -> bool:
        """Whether it is a learning phase that the model no longer has; the function still feeds it for the float graph."""
        return self._is_model and _node_of(key) not in self._view and np.ndim(value) == 0 and np.asarray(value).dtype == bool

    def _placeholder(self, step: int, key: Any) -> str:
        if not isinstance(key, str):
            raise self._wrong(step, 'it returned the key {!r}; keys are names of placeholders'.format(key))
        name = _node_of(key)
        if name in self._shapes:
            return name
        if name in self._view:
            raise self._wrong(step, 'it returned {!r}, which is a node of type {}; only placeholders are fed ({})'.format(
                key, self._view.op(name), _listed(self.placeholders)))
        raise self._wrong(step, 'it returned {!r}, which is not in the graph{}'.format(
            key, errors.did_you_mean(name, self._view.names) or '; the placeholders are ' + _listed(self.placeholders)))

    def _value(self, step: int, name: str, value: Any) -> np.ndarray:
        dtype, shape = self._view.dtype(name), self._shapes[name]
        array = self._array(step, name, value)
        if array.size == 0:
            raise self._wrong(step, 'the value for {!r} is empty (shape {}){}'.format(name, list(array.shape), (
                '; if the data ends at step {} of {}, lower calib_iter or give it more data'.format(step, self._steps)
                if step else '')))
        if shape is not None and not _fits(array.shape, shape):
            raise self._wrong(step, 'the value for {!r} has the shape {}; expected {}'.format(
                name, list(array.shape), _shape_text(shape)))
        is_text = array.dtype.kind in 'SUO'
        if is_text != (dtype == tf.string):
            raise self._wrong_type(step, name, array, dtype)
        return array if is_text else self._number(step, name, array, dtype)

    def _array(self, step: int, name: str, value: Any) -> np.ndarray:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter('error', getattr(np, 'VisibleDeprecationWarning', Warning))
                array = np.asarray(value)
        except Exception as error:
            raise self._wrong(step, 'the value for {!r} is {}, not an array ({})'.format(
                name, _kind(value), _first_line(error))) from error
        if array.dtype.kind == 'O' and self._view.dtype(name) != tf.string:
            shapes = sorted({np.shape(item) for item in value}) if isinstance(value, (list, tuple)) else []
            raise self._wrong(step, 'the value for {!r} is {}; expected numbers in one array{}'.format(
                name, _kind(value), ', not arrays of different shapes ({})'.format(
                    ', '.join(str(list(shape)) for shape in shapes)) if len(shapes) > 1 else ''))
        return array

    def _number(self, step: int, name: str, array: np.ndarray, dtype: tf.DType) -> np.ndarray:
        if array.dtype.kind in 'fc' and not np.isfinite(array).all():
            raise self._wrong(step, 'the value for {!r} has NaN or infinity'.format(name))
        if array.dtype.kind == 'c' and not dtype.is_complex:
            raise self._wrong_type(step, name, array, dtype)
        with np.errstate(all='ignore'):
            result = np.asarray(array, dtype.as_numpy_dtype)
        if (dtype.is_integer or dtype.is_bool) and not np.array_equal(result, array):
            raise self._wrong(step, 'the value for {!r} has the type {} and values that {} does not hold, such as {}'.format(
                name, array.dtype.name, dtype.name, array[result != array][0]))
        if dtype.is_floating and result.dtype != array.dtype and not np.isfinite(result.astype(np.float64)).all():
            raise self._wrong(step, 'the value for {!r} has values beyond the range of {}'.format(name, dtype.name))
        return result

    def _wrong_type(self, step: int, name: str, array: np.ndarray, dtype: tf.DType) -> errors.QuantizeError:
        return self._wrong(step, 'the value for {!r} has the type {}; expected {}'.format(name, array.dtype.name, dtype.name))

    def _wrong(self, step: int, detail: str) -> errors.QuantizeError:
        return _error('Wrong data', 'input_fn at step {}: {}'.format(step, detail))


def _error(summary: str, detail: str) -> errors.QuantizeError:
    return errors.QuantizeError(errors.INVALID_INPUT_FN, summary, detail if detail.endswith('?') else detail + '.')


def _step_keyword(function: Callable) -> str:
    """The name of the keyword-only parameter that takes the step; '' if the first positional one takes it."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # built-in functions may have no signature
        return ''
    if any(parameter.kind not in (parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD) for parameter in parameters):
        return ''
    names = [parameter.name for parameter in parameters if parameter.kind == parameter.KEYWORD_ONLY]
    if len(names) == 1 or 'iter' in names:
        return 'iter' if 'iter' in names else names[0]
    raise _error('Invalid function', 'input_fn takes no positional argument; it must take the number of the step')


def _merged(name: str, shape: Optional[_Shape], given: _Shape) -> List[int]:
    """The shape of a placeholder, completed by the given one; the batch of the graph stays as it is."""
    if shape is None:
        return [-1] + list(given[1:])
    if len(shape) != len(given) or any(known not in (-1, asked) and asked != -1
                                       for known, asked in zip(shape[1:], given[1:])):
        raise errors.QuantizeError(
            errors.LENGTH_MISMATCH, 'Wrong shape', 'input_shapes gives {} for the placeholder {!r}, which has the shape {} in '
            'the graph.'.format(_shape_text(given), name, _shape_text(shape)))
    return list(shape[:1]) + [asked if known == -1 else known for known, asked in zip(shape[1:], given[1:])]


def _fits(shape: _Shape, expected: _Shape) -> bool:
    return len(shape) == len(expected) and all(want in (-1, size) for size, want in zip(shape, expected))


def _shape_text(shape: _Shape) -> str:
    return '[{}]'.format(','.join('?' if size == -1 else str(size) for size in shape))


def _node_of(key: Any) -> Any:
    return key[:-2] if isinstance(key, str) and key.endswith(':0') else key


def _kind(value: Any) -> str:
    return 'None' if value is None else 'a value of type {}'.format(type(value).__name__)


def _listed(names: Iterable[Any]) -> str:
    return ', '.join(map(repr, names)) or 'none'


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [''])[0]


def _describe(error: BaseException) -> str:
    """Type, first line and place of an exception: file and line of the innermost frame in the user's code."""
    text = '{}: {}'.format(type(error).__name__, _first_line(error)).rstrip(': ')
    if isinstance(error, SyntaxError):
        return '{} ({}, line {})'.format(text.partition(' (')[0], error.filename, error.lineno)
    package = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    frames = [frame for frame in traceback.extract_tb(error.__traceback__)
              if not frame.filename.startswith(('<', package + os.sep))]
    own = [frame for frame in frames if os.sep + 'site-packages' + os.sep not in frame.filename
           and not frame.filename.startswith(os.path.dirname(os.__file__) + os.sep)]
    places = own or frames
    return '{} ({}, line {})'.format(text, places[-1].filename, places[-1].lineno) if places else text
