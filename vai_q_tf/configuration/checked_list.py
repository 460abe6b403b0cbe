"""A list that stays valid: what a QuantizeConfig has for its fields that are lists."""
import functools


def _checked(name):
    """The method of list of that name, which changes the list if the check accepts the result."""
    change = getattr(list, name)

    @functools.wraps(change)
    def method(self, *args, **kwargs):
        changed = list(self)
        result = change(changed, *args, **kwargs)
        mine = {id(entry): entry for entry in self}
        # Entries that were in the list stay the same objects, so that whoever has one of the lists inside keeps it.
        entries = [mine.pop(id(given), entry) for given, entry in zip(changed, self._check(changed))]
        list.__setitem__(self, slice(None), entries)
        return self if result is changed else result
    return method


class CheckedList(list):
    """A list that raises the error of its check where a change would make it invalid, and is left as it was then.

    Copies and pickles of it are ordinary lists.

    Args:
      values: a list.
      check: function from a list to the list of the entries as they are kept, one for each; it raises an error for entries
        that it does not accept.
    """

    def __init__(self, values=(), check=list):
        super().__init__(check(values))
        self._check = check

    insert, pop, remove, clear = _checked('insert'), _checked('pop'), _checked('remove'), _checked('clear')
    sort, reverse = _checked('sort'), _checked('reverse')
    __setitem__, __delitem__ = _checked('__setitem__'), _checked('__delitem__')
    __imul__ = _checked('__imul__')

    def append(self, value):
        """As of list. Checks the new entry alone: many are added in linear time, and by several threads at once."""
        self._add([value])

    def extend(self, values):
        """As of list, but a string is no list of its letters; checks the new entries as `append` does."""
        self._add(self._check(values) if isinstance(values, str) else list(values))

    def __iadd__(self, values):  # type: ignore  # it takes more than a sum does
        self.extend(values)
        return self

    def _add(self, values):
        try:
            entries = self._check(values)
        except (TypeError, ValueError):
            self._check(list(self) + values)  # its error tells of the whole list
            raise
        super().extend(entries)

    def __reduce__(self):
        return list, (list(self),)
