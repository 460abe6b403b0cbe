"""Packaging. Installing compiles the kernels with `make -C kernels`; all else is plain setuptools."""
import os
import subprocess
import sys

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from wheel.bdist_wheel import bdist_wheel

if not (3, 6) <= sys.version_info < (3, 8):
    sys.exit('error: TensorFlow 1.15 runs on Python 3.6 and 3.7; this is {}.{}'.format(*sys.version_info))

ROOT = os.path.dirname(os.path.abspath(__file__))
CPU = os.environ.get('VAI_Q_TF_CPU') == '1'
# TensorFlow's CPU and GPU wheels overwrite each other's files, so the package depends on one of them.
TENSORFLOW = 'tensorflow==1.15.5' if CPU else 'tensorflow-gpu==1.15.5'


def read(name):
    with open(os.path.join(ROOT, name), encoding='utf-8') as text:
        return text.read()


def version():
    values = {}
    exec(read(os.path.join('vai_q_tf', 'version.py')), values)
    return values['__version__']


class BuildKernels(build_ext):
    """Builds the op library with its own Makefile. It is not a Python module: its name has no ABI suffix."""

    def get_ext_filename(self, fullname):
        return os.path.join(*fullname.split('.')) + '.so'

    def build_extension(self, ext):
        directory = os.path.dirname(os.path.abspath(self.get_ext_fullpath(ext.name)))
        try:
            subprocess.check_call(['make', '-C', os.path.join(ROOT, 'kernels'), '-j', str(os.cpu_count()),
                                   'PYTHON=' + sys.executable, 'OUT=' + directory, 'VAI_Q_TF_CPU=' + ('1' if CPU else '')])
        except OSError:
            sys.exit("error: the kernels are compiled on installation, which needs make and g++ (on Debian or Ubuntu: "
                     "apt install build-essential)")
        except subprocess.CalledProcessError:
            sys.exit("error: the kernels did not compile; the reason is above. They need g++ and a Python that imports "
                     "TensorFlow 1.15 (with pip --no-build-isolation: install {} 'protobuf<3.21' first)".format(
                         TENSORFLOW))


class PlatformWheel(bdist_wheel):
    """The library fits every CPython and both TensorFlow wheels, so only the platform is part of the tag."""

    def get_tag(self):
        return 'py3', 'none', super().get_tag()[2]


setup(
    name='vai_q_tf',
    version=version(),
    description='Quantization-aware training and post-training quantization for TensorFlow 1.15 models on a DPU',
    long_description=read('README.md'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    classifiers=[
        'License :: OSI Approved :: Apache Software License',
        'Operating System :: POSIX :: Linux',
        'Programming Language :: Python :: 3.6',
        'Programming Language :: Python :: 3.7',
    ],
    python_requires='>=3.6,<3.8',
    install_requires=[TENSORFLOW, 'tensorflow-estimator==1.15.1', 'numpy', 'absl-py', 'protobuf<3.21',
                      'tabulate', 'tqdm>=4.60', 'argcomplete>=2', 'PyYAML>=5.1'],
    extras_require={'onnx': ['tf2onnx==1.9.3'],
                    'report': ['bokeh>=2.3.3,<2.5', 'Jinja2>=2.11', 'grandalf==0.8']},
    packages=find_packages(include=['vai_q_tf', 'vai_q_tf.*']),
    package_data={'vai_q_tf': ['py.typed'], 'vai_q_tf.html_report': ['page.*']},
    py_modules=['vai_q_tensorflow'],
    ext_modules=[Extension('vai_q_tf.ops.libvai_q_tf_ops', sources=[])],
    cmdclass={'build_ext': BuildKernels, 'bdist_wheel': PlatformWheel},
    entry_points={'console_scripts': ['vai_q_tensorflow = vai_q_tf.cli:main']},
    zip_safe=False,
)
