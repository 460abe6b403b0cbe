"""Arguments under the names that scripts for the Vitis AI quantizer use."""
import functools
from typing import Any, Callable, TypeVar, cast

_Function = TypeVar('_Function', bound=Callable[..., Any])


def also_called(**names: str) -> Callable[[_Function], _Function]:
    """Decorates a function so that it takes keyword arguments under a second name as well: second_name='parameter'.

    The signature shows the parameters only. An argument under both names raises a TypeError.
    """
    def decorate(function: _Function) -> _Function:
        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            for second, name in names.items():
                if second in kwargs and name in kwargs:
                    raise TypeError('{}() got {!r} and {!r}, which are the same argument'.format(
                        function.__name__, name, second))
                if second in kwargs:
                    kwargs[name] = kwargs.pop(second)
            return function(*args, **kwargs)
        return cast(_Function, call)  # to a type checker only the first names exist, as in the signature
    return decorate
