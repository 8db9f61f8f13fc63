# Copyright the neap authors. SPDX-License-Identifier: BSD-3-Clause
#
# A thin front for CMake. Everything that a target needs is installed by scripts/setup.sh first.

TORCH_VERSION ?= 2.15.0
PREFIX ?= /usr/local
JOBS ?= 2
PRESET = release
BUILD = build
ifneq ($(TORCH_VERSION),2.15.0)
BUILD = build/torch-$(TORCH_VERSION)
endif
CONFIGURE = cmake --preset $(PRESET) -B $(BUILD) -DNEAP_TORCH_VERSION=$(TORCH_VERSION) \
	-DNEAP_TESTS=OFF -DNEAP_BENCH=OFF -DNEAP_CLP=OFF -DNEAP_PYTHON=OFF
# The user's own LibTorch comes first; then none is fetched.
ifneq ($(Torch_DIR)$(CMAKE_PREFIX_PATH),)
NO_TORCH = --no-torch
endif

.DEFAULT_GOAL := all
.PHONY: all help setup tools train configure-tests wheel wheels test test-kernels test-long fresh test-asan test-tsan fuzz bench bench-plans bench-headline bench-python tidy format check-format install clean

all: setup ## build the command, build/bin/neap
	@$(CONFIGURE) > /dev/null
	cmake --build $(BUILD) -j $(JOBS) --target neap_command

help: ## this list
	@echo "make TARGET [TORCH_VERSION=2.11.0] [PREFIX=DIR] [JOBS=2]"
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /  \1\t/' | expand -t 16

setup: ## install what building needs: Debian packages, and LibTorch below build/deps
	@scripts/setup.sh --torch $(TORCH_VERSION) $(NO_TORCH)

tools: ## as setup, and what tests and formatting need
	@scripts/setup.sh --torch $(TORCH_VERSION) $(NO_TORCH) --tools

# STEPS ends the training after so many steps, without the evaluation; empty: a whole epoch.
STEPS ?=
train: all ## train a ResNet on Fashion-MNIST inside 30 % of its activation memory, and prove equal bits
	$(BUILD)/bin/neap verify --model resnet --budget 30% --steps $(or $(STEPS),3)
	$(BUILD)/bin/neap train --model resnet --data fashion-mnist --budget 30% $(if $(STEPS),--steps $(STEPS) --no-test,--epochs 1)

configure-tests: tools
	@$(CONFIGURE) -DNEAP_TESTS=ON -DNEAP_BENCH=ON -DNEAP_CLP=ON -DNEAP_PYTHON=ON \
	  -DNEAP_PYTHON_ENV=$(PYTHON_ENV) > /dev/null

# The torch of the package's tests is the one of python/requirements.txt.
PYTHON_ENV = $(if $(filter build,$(BUILD)),$(CURDIR)/build/python-env)

$(CURDIR)/build/python-env/ready: python/requirements.txt
	rm -rf $(@D)
	python3 -m venv $(@D)
	$(@D)/bin/pip install --quiet --disable-pip-version-check --requirement python/requirements.txt
	touch $@

wheel: tools $(CURDIR)/build/python-env/ready ## build a wheel of the Python package in build/wheels, for the torch at hand
	@$(CONFIGURE) -DNEAP_PYTHON=ON > /dev/null
	cmake --build $(BUILD) -j $(JOBS) --target neap_python
	scripts/wheel.sh $(BUILD)

WHEEL_TORCHES = $(patsubst scripts/torch-%.txt,%,$(wildcard scripts/torch-*.txt))
wheels: tools $(CURDIR)/build/python-env/ready ## build the wheel that is published, for all torches, an hour
	for version in $(WHEEL_TORCHES); do \
	  scripts/setup.sh --torch $$version --no-packages && \
	  cmake --preset release -B build/wheel-$$version -DNEAP_TORCH_VERSION=$$version -DNEAP_COMMAND=OFF -DNEAP_PYTHON=ON > /dev/null && \
	  cmake --build build/wheel-$$version -j $(JOBS) --target neap_python || exit 1; \
	done
	scripts/wheel.sh $(WHEEL_TORCHES:%=build/wheel-%)

# A busy machine may take as long as it likes: what hangs is ended after a day, not after CTest's 25 minutes.
CTEST = ctest --test-dir $(BUILD) -j $(JOBS) --output-on-failure --timeout 86400

test: check-format configure-tests $(PYTHON_ENV:=/ready) ## build and run every test
	cmake --build $(BUILD) -j $(JOBS)
	$(if $(PYTHON_ENV),scripts/wheel.sh $(BUILD))
	$(CTEST)

# Kernels hang on the processor. One with AVX-512 can be told to take those for AVX2; one without has taken them already.
AVX2 = ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2
test-kernels: configure-tests ## the tests that hang on kernels, with those for AVX2 where `make test` takes AVX-512's
	cmake --build $(BUILD) -j $(JOBS) --target neap_kernel_tests
	@if grep -qw avx512f /proc/cpuinfo; then set -x; $(AVX2) $(CTEST) -C kernels -L kernels; \
	else echo "test-kernels: nothing to do: without AVX-512, make test takes the kernels for AVX2"; fi

# What LONG adds to the environment: other kills, power losses and faults than `make test` takes, and ten times as many.
LONG_SEED ?= 2
LONG = NEAP_SEED=$(LONG_SEED) NEAP_KILLS=20000 NEAP_POWER_LOSSES=20000 NEAP_COMMAND_FAULTS=0 NEAP_OFFLOAD_FAULTS=0 NEAP_VERIFIED_STEPS=10000 \
  NEAP_NEW_FAILURES=0
test-long: configure-tests ## 20,000 kills and power losses, each fault of the command, 10,000 verified steps: docs/reliability.md; hours
	cmake --build $(BUILD) -j $(JOBS) --target neap_faults_tests neap_faults_shim neap_command neap_checkpoint_tests neap_no_memory_tests
	$(LONG) $(BUILD)/bin/neap_checkpoint_tests --gtest_filter='VerifiedContents.*'
	$(LONG) $(CTEST) --verbose -R '^(faults|no_memory)'

fresh: ## `make train` and `make test`, whole, in a root that has nothing of what setup installs; as root, an hour
	tests/fresh/fresh.sh --whole

test-asan: tools ## the tests under address, undefined-behaviour and leak sanitizers
	cmake --preset asan -DNEAP_TORCH_VERSION=$(TORCH_VERSION) > /dev/null
	cmake --build --preset asan -j $(JOBS)
	ASAN_OPTIONS=detect_leaks=1:detect_odr_violation=0 ctest --test-dir build/asan -L sanitize --output-on-failure

test-tsan: tools ## the threaded tests under the thread sanitizer
	cmake --preset tsan -DNEAP_TORCH_VERSION=$(TORCH_VERSION) > /dev/null
	cmake --build --preset tsan -j $(JOBS) --target neap_memory_tests neap_data_tests neap_regression_tests
	@# LibTorch and its OpenMP are not built for it: their barriers are not seen.
	TSAN_OPTIONS=ignore_noninstrumented_modules=1 ctest --test-dir build/tsan -L threads --output-on-failure

FUZZ_SECONDS ?= 60
fuzz: tools ## FUZZ_SECONDS for each reader of files and values, with clang and damaged input; what fails lies in build/fuzz
	@$(CONFIGURE) > /dev/null
	NEAP_EXPORT_DIR=$(CURDIR)/$(BUILD)/include tests/fuzz/run.sh $(FUZZ_SECONDS)

bench: tools ## measure against plain LibTorch; writes bench/measured.md, for bench/README.md
	@$(CONFIGURE) -DNEAP_BENCH=ON > /dev/null
	cmake --build $(BUILD) -j $(JOBS) --target neap_bench
	bench/run.sh $(BUILD)/bin/neap_bench measured.md

bench-plans: tools ## plans beside bounds and starts, five minutes; writes bench/plans.md
	@$(CONFIGURE) -DNEAP_BENCH=ON > /dev/null
	cmake --build $(BUILD) -j $(JOBS) --target neap_bench_plans
	bench/run.sh $(BUILD)/bin/neap_bench_plans plans.md

bench-headline: tools ## the largest batches in 4 GiB, an hour or more; writes bench/headline.md
	@$(CONFIGURE) -DNEAP_BENCH=ON > /dev/null
	cmake --build $(BUILD) -j $(JOBS) --target neap_bench
	$(BUILD)/bin/neap_bench headline bench

# OFFLOAD names a directory, best of a disk that does nothing else: the ways that offload to it are measured too.
OFFLOAD ?=
bench-python: wheel ## measure the package beside PyTorch's own ways, 40 minutes, 80 with OFFLOAD; writes bench/python.md, .csv and .svg
	bench/python/run.sh $(CURDIR)/build/python-env/bin/python $(if $(OFFLOAD),--offload "$(abspath $(OFFLOAD))")

SOURCES = $(shell git ls-files --cached --others --exclude-standard '*.cpp' '*.h')

tidy: tools ## clang-tidy over all own code
	cmake --preset tidy -DNEAP_TORCH_VERSION=$(TORCH_VERSION) > /dev/null
	run-clang-tidy -quiet -j $(JOBS) -p build/tidy '^$(CURDIR)/(src|apps|bench|tests|examples)/'

format: ## format all own code
	clang-format -i $(SOURCES)

check-format: tools
	@clang-format --dry-run -Werror $(SOURCES)

install: all ## install the library, the command and its manual below PREFIX
	cmake --build $(BUILD) -j $(JOBS) --target neap neap_manual
	cmake --install $(BUILD) --prefix $(PREFIX)

clean: ## remove what was built; what was downloaded stays
	find build -mindepth 1 -maxdepth 1 ! -name deps -exec rm -rf {} +
