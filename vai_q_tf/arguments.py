"""Arguments by the names that scripts of the original know."""
import functools


def also_called(**names):
    """Decorates a function that takes some keyword arguments by a second name, too: {second name: name of the parameter}.

    The signature shows the parameters alone. Both names in one call are a TypeError.
    """
    def decorate(function):
        @functools.wraps(function)
        def call(*args, **kwargs):
            for second, name in names.items():
                if second in kwargs and name in kwargs:
                    raise TypeError('{}() got {!r} and {!r}, which are the same argument'.format(
                        function.__name__, name, second))
                if second in kwargs:
                    kwargs[name] = kwargs.pop(second)
            return function(*args, **kwargs)
        return call
    return decorate
