"""Tables as text."""
from typing import List, Sequence


def table(rows: Sequence[Sequence[str]]) -> List[str]:
    """The lines of a table whose first row is its head; all columns but the last are padded."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    lines = ['  '.join([cell.ljust(width) for cell, width in zip(row, widths)] + [row[-1]]) for row in rows]
    return lines[:1] + ['  '.join('-' * width for width in widths + [len(rows[0][-1])])] + lines[1:]
