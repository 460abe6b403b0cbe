"""Tables of text."""


def table(rows):
    """The lines of a table of strings whose first row is its head; the last column is as wide as it likes."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    lines = ['  '.join([cell.ljust(width) for cell, width in zip(row, widths)] + [row[-1]]) for row in rows]
    return lines[:1] + ['  '.join('-' * width for width in widths + [len(rows[0][-1])])] + lines[1:]
