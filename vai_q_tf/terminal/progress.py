"""The progress bar of all that runs batch after batch, or layer after layer."""
from tqdm import tqdm


def progress(items, count, text, unit='batch'):
    """The items, `count` of them, with a bar on stderr that says `text`, and how long the rest will take."""
    return tqdm(items, total=count, desc=text, unit=unit, mininterval=0.5)
