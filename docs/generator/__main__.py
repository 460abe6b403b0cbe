"""`python -m docs.generator` writes all generated pages."""
import os

from docs.generator.contents import REFERENCE, pages

if __name__ == '__main__':
    for _path, _text in pages().items():
        _target = os.path.join(REFERENCE, _path)
        os.makedirs(os.path.dirname(_target), exist_ok=True)
        with open(_target, 'w', encoding='utf-8') as _stream:
            _stream.write(_text)
