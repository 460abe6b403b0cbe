"""Takes report.png, a picture of the report of a quantized MobileNetV1: the summary, the network, and a histogram.

    make kernels .venv/.trained .venv/.photos             # the weights, and the photos to calibrate with
    .venv/bin/python docs/pictures/report.py              # some minutes; needs chromium and Pillow
    .venv/bin/python docs/pictures/report.py PAGE.html    # takes it of this report instead

Texts, controls and tables between these three are left out.
"""
import os
import subprocess
import sys
import tempfile
from typing import List

_HERE = os.path.dirname(os.path.abspath(__file__))
PATH = os.path.join(_HERE, 'report.png')
_SIZE = 1280, 1640  # of the window; the picture ends where the page does
_LEFT_OUT = ('#summary > :not(h2):not(.cards)', '#network > :not(h2):not(.legend):not(.plot)',
             '#tensors > :not(h2):not(.selected)',
             'nav', '.skip', 'main > section:not(#summary):not(#network):not(#tensors)', 'footer')


def quantize(directory: str) -> str:
    """Quantizes MobileNetV1 with the effort high; returns the path of its report."""
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(_HERE)), 'benchmarks', 'accuracy'))
    import mobilenet_v1
    import photos

    import vai_q_tensorflow
    images = photos.load().calibration.reshape(6, -1, *photos.load().calibration.shape[1:])
    config = vai_q_tensorflow.QuantizeConfig([mobilenet_v1.INPUT], [mobilenet_v1.OUTPUT], output_dir=directory,
                                             calib_iter=len(images))
    vai_q_tensorflow.quantize_frozen(mobilenet_v1.frozen_graph(mobilenet_v1.weights()),
                                     lambda step: {mobilenet_v1.INPUT: images[step]}, config, effort='high', report=1)
    return os.path.join(directory, 'quantize_report.html')


def shortened(page: str) -> str:
    """The text of a report without all that the picture leaves out."""
    return page.replace('</head>', '<style>{} {{ display: none; }}</style>\n</head>'.format(', '.join(_LEFT_OUT)), 1)


def take(page: str, path: str) -> None:
    """Writes the picture of an HTML file."""
    from PIL import Image, ImageChops
    with tempfile.TemporaryDirectory() as directory:
        short = os.path.join(directory, 'short.html')
        with open(page, encoding='utf-8') as source, open(short, 'w', encoding='utf-8') as target:
            target.write(shortened(source.read()))
        subprocess.check_call(['chromium', '--headless', '--no-sandbox', '--disable-gpu', '--hide-scrollbars', short,
                               '--window-size={},{}'.format(*_SIZE), '--virtual-time-budget=10000', '--screenshot=' + path])
    picture = Image.open(path).convert('RGB')
    background = Image.new('RGB', picture.size, picture.getpixel((0, picture.height - 1)))
    end = ImageChops.difference(picture, background).getbbox()[3]
    picture.crop((0, 0, picture.width, min(picture.height, end + 16))).save(path, optimize=True)


def main(pages: List[str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        take(pages[0] if pages else quantize(directory), PATH)


if __name__ == '__main__':
    main(sys.argv[1:])
