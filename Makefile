# make help | demo | test | test-crash | test-docker | test-host | test-full | deb | lock | lint | clean
#
# Needs Python 3.11 or newer and make. Everything else goes into .venv, the first time and whenever
# pyproject.toml has changed. Tools run as `python -m TOOL`: a script's first line cannot name an
# interpreter in a folder whose name has a space.

PYTHON ?= python3
VENV   := .venv
PY     := $(VENV)/bin/python
# Its commas would end an argument of `call`.
EVERYTHING := -e '.[dev,bench,fuzz]'
HOST_PACKAGES := systemd,systemd-sysv,libpam-systemd,dbus,python3,acl,procps
# Twice as many as processors: tests of processes wait more than they work.
WORKERS = $$((2 * $$(nproc)))

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test mutants test-crash test-docker test-host test-full host-tree deb lock bench lint clean venv-run venv-dev venv-all

unexport PYTHONPATH PYTHONHOME
export PIP_DISABLE_PIP_VERSION_CHECK := 1

help: ## what there is to make
	@echo 'make TARGET [PYTHON=python3.12]'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' Makefile

demo: venv-run ## watch spoold at work in a temporary folder; takes a few seconds
	@$(PY) examples/demo/demo.py

test: lint ## lint, then all tests
	$(PY) -m pytest -q -n $(WORKERS) --dist worksteal

mutants: venv-dev ## break each of some twenty laws in a copy: a test must notice every one
	$(PY) -m tests.mutants $(MUTANTS)

test-crash: venv-all ## a sample of kills, faults, power cuts, hostile input; root and strace [SPOOLD_SEED=...]
	$(PY) -m pytest -n $(WORKERS) tests/crash

test-docker: venv-dev ## customers' containers on a real engine; Docker (DOCKER_HOST), busybox-static, root
	$(PY) -m pytest -n 4 tests/docker

test-host: venv-dev ## the package on a booted Debian; root, debootstrap, systemd-nspawn [SPOOLD_HOST=TREE]
	$(PY) -m pytest tests/host

test-full: export SPOOLD_MATRIX := full
test-full: test test-crash test-docker test-host ## all of them with nothing left out; an hour

# The tree that test-host copies and boots.
host-tree:
	test -e '$(SPOOLD_HOST)/etc/debian_version' || \
	  debootstrap --variant=minbase --include=$(HOST_PACKAGES) bookworm '$(SPOOLD_HOST)' \
	  http://deb.debian.org/debian

deb: ## dist/spoold_VERSION_ARCH.deb; needs pip and dpkg-deb [PYTHON=python3.11]
	PYTHON='$(PYTHON)' packaging/deb/build

lock: ## what the package is built from, anew: packaging/deb/*.lock; needs a package index [PYTHON=python3.11]
	set -eu; tools=$$(mktemp -d); trap 'rm -rf "$$tools"' EXIT; \
	"$(PYTHON)" -m venv "$$tools"; "$$tools/bin/python" -m pip install -qq 'pip-tools>=7.5'; \
	for one in build requirements; do \
	  what=; if [ "$$one" = build ]; then what='--only-build-deps --build-deps-for wheel'; fi; \
	  "$$tools/bin/pip-compile" -q --upgrade --generate-hashes --strip-extras --allow-unsafe \
	    --no-annotate --no-header --no-emit-options --no-emit-index-url --no-emit-find-links \
	    --no-emit-trusted-host $$what -o "packaging/deb/$$one.lock" pyproject.toml; \
	done

bench: venv-all ## spoold, bare system calls and peers, measured in one run [BENCH=--quick]
	$(PY) -m benchmarks $(BENCH)

lint: venv-dev ## style, types, and who may import whom
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PY) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()'

clean: ## remove .venv and every cache
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find . -path ./.git -prune -o -name __pycache__ -type d -prune -exec rm -rf {} +

venv-run:
	@$(call install,.run .dev .all,.run,-e .)

venv-dev:
	@$(call install,.dev .all,.dev,-e '.[dev]')

venv-all:
	@$(call install,.all,.all,$(EVERYTHING))

# $(call install,STAMPS,STAMP,WHAT): .venv has WHAT installed, which any of STAMPS says.
#
# A stamp names the checkout and the pyproject.toml it was made for. `.unfinished` lies there from
# before the first change until after the last, so what an interrupted run left is made anew. The
# lock is for two runs at once.
define install
set -eu; \
exec 9<Makefile; if command -v flock >/dev/null; then flock 9; fi; \
here=$$(pwd -P); want="$$here $$(cksum <pyproject.toml)"; \
works() { $(PY) -c '' 2>/dev/null && [ ! -e $(VENV)/.unfinished ] && \
  [ "$$(cat $(VENV)/.checkout 2>/dev/null)" = "$$here" ]; }; \
if works; then \
  for stamp in $(1); do \
    if [ "$$(cat $(VENV)/$$stamp 2>/dev/null)" = "$$want" ]; then exit 0; fi; \
  done; \
fi; \
fail() { echo "make: $$1" >&2; exit 1; }; \
if ! works; then \
  command -v "$(PYTHON)" >/dev/null || \
    fail "there is no '$(PYTHON)'. Install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3"; \
  "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
    fail "'$(PYTHON)' is $$("$(PYTHON)" -V 2>&1), but spoold needs 3.11 or newer. Name one: make PYTHON=python3.11"; \
  "$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || \
    fail "'$(PYTHON)' cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv"; \
  rm -rf $(VENV); mkdir $(VENV); : >$(VENV)/.unfinished; \
  "$(PYTHON)" -m venv $(VENV); \
  printf '%s' "$$here" >$(VENV)/.checkout; \
fi; \
: >$(VENV)/.unfinished; rm -f $(VENV)/.run $(VENV)/.dev $(VENV)/.all; \
echo "Installing into $(VENV) ..."; \
$(PY) -m pip install --quiet $(3) >$(VENV)/install.log 2>&1 </dev/null || \
  { cat $(VENV)/install.log >&2; fail "the installation failed; its messages are above"; }; \
printf '%s' "$$want" >$(VENV)/$(2); \
rm $(VENV)/.unfinished
endef
