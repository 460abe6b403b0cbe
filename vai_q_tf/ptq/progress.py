"""The progress bar of all that runs batch after batch."""
from tqdm import tqdm


def progress(batches, count, text):
    """The batches, `count` of them, with a bar on stderr that says `text`."""
    return tqdm(batches, total=count, desc=text, unit='batch', mininterval=0.5)
