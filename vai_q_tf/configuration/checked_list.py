"""A list that stays valid, for the fields of a QuantizeConfig that are lists."""
import functools
from typing import Any, Callable, Iterable, List, Tuple, Type


def _checked(name: str) -> Callable[..., Any]:
    """The method of list of that name, which changes the list only if the check accepts the result."""
    change = getattr(list, name)

    @functools.wraps(change)
    def method(self: 'CheckedList', *args: Any, **kwargs: Any) -> Any:
        changed = list(self)
        result = change(changed, *args, **kwargs)
        mine = {id(entry): entry for entry in self}
        # Entries stay the same objects, so that a caller's reference to an inner list remains part of this one.
        entries = [mine.pop(id(given), entry) for given, entry in zip(changed, self._check(changed))]
        list.__setitem__(self, slice(None), entries)
        return self if result is changed else result
    return method


class CheckedList(list):
    """A list that raises the error of its check, and stays as it was, if a change would make it invalid.

    Copies and pickles of it are ordinary lists.

    Args:
      values: a list.
      check: function that converts a list to the list of entries to keep, one for each; it raises an error for an entry that
        it does not accept.
    """

    def __init__(self, values: Iterable[Any] = (), check: Callable[[Any], List[Any]] = list) -> None:
        super().__init__(check(values))
        self._check = check

    insert, pop, remove, clear = _checked('insert'), _checked('pop'), _checked('remove'), _checked('clear')
    sort, reverse = _checked('sort'), _checked('reverse')
    __setitem__, __delitem__ = _checked('__setitem__'), _checked('__delitem__')
    __imul__ = _checked('__imul__')

    def append(self, value: Any) -> None:
        """As list.append. It checks only the new entry, so that adding is linear, and safe from several threads."""
        self._add([value])

    def extend(self, values: Iterable[Any]) -> None:
        """As list.extend, but a string is not a list of its letters. It checks only the new entries."""
        self._add(self._check(values) if isinstance(values, str) else list(values))

    def __iadd__(self, values: Iterable[Any]) -> 'CheckedList':  # type: ignore  # takes any iterable, unlike list.__add__
        self.extend(values)
        return self

    def _add(self, values: List[Any]) -> None:
        try:
            entries = self._check(values)
        except (TypeError, ValueError):
            self._check(list(self) + values)  # for an error that shows the whole list
            raise
        super().extend(entries)

    def __reduce__(self) -> Tuple[Type[list], Tuple[List[Any]]]:
        return list, (list(self),)
