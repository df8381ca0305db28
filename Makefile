# CI runs the same commands as developers. `make` lists them.
PYTHON ?= python3
# `make test PYTHON=python3.13` has an environment of its own
VENV := .venv$(if $(filter command line,$(origin PYTHON)),-$(notdir $(PYTHON)))
BIN := $(VENV)/bin
RUN := $(BIN)/python -m

# Bytecode is cached even if the environment disables it: every start would compile all modules again
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup run workers test test-slow test-all coverage matrix containers browser beside pictures docs messages assets fonts viewer uplot wordpress pin passwords check fix interface chaos abuse fuzz bench against truth soak audit licences sbom lock clean year

help: ## List the commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 10

run: $(VENV)/.runtime ## Serve the ticker on http://127.0.0.1:8080 (ARGS="--port 9000" adds options)
	exec $(RUN) service serve $(ARGS)

WORKERS ?= 2
workers: $(VENV)/.runtime ## Serve with several processes (WORKERS=4); requires TICKER_STORE__URL, a Redis or Valkey URL
	exec $(BIN)/gunicorn --config config/gunicorn.conf.py --workers $(WORKERS) $(ARGS)

setup: $(VENV)/.dev ## Create .venv with all dependencies, those for development included

# The tests of a module stay in one worker: they share its fixtures. tests/conftest.py decides on the number of workers.
# (`--dist loadgroup` does not group with pytest 9.2: pytest-xdist 3.8 sets the attribute `_nodeid`, which it ignores.)
PARALLEL := -n auto --dist loadfile --no-loadscope-reorder

test: $(VENV)/.dev browser beside ## Run all tests except the slow ones (ARGS="-k name" selects)
	$(RUN) pytest $(PARALLEL) -m "not slow and not containers" $(ARGS)

test-slow: $(VENV)/.dev browser beside ## Run the slow tests (packaging, chaos, soak), and property tests with many more examples
	HYPOTHESIS_PROFILE=thorough $(RUN) pytest $(PARALLEL) -m "slow or fuzz" $(ARGS)

test-all: test test-slow ## Run all tests

coverage: $(VENV)/.dev browser beside ## Run the tests of `make test` and measure branch coverage
	$(RUN) pytest $(PARALLEL) -m "not slow and not containers" --cov --cov-report=term:skip-covered $(ARGS)

matrix: ## Run the tests of `make test`, without browser tests, on every installed Python from 3.11 to 3.14
	@set -e; for python in python3.11 python3.12 python3.13 python3.14; do \
	  $$python -c '' 2>/dev/null || { echo "$$python: not found"; continue; }; \
	  $(MAKE) --no-print-directory test PYTHON=$$python ARGS="--ignore=tests/browser $(ARGS)"; \
	done

# Install Debian packages, on Debian as root
install = { command -v apt-get >/dev/null && test "$$(id -u)" = 0 && echo "Installing for the tests: $(1)" \
  && apt-get update -qq && apt-get install -y -qq --no-install-recommends $(1) >/dev/null; }

browser: # Install Chromium for the browser tests, if possible; pytest reports what it skips
	@test -n "$$CHROMIUM" || command -v chromium-headless-shell || command -v chromium || command -v chromium-browser \
	  || command -v google-chrome || $(call install,chromium-headless-shell fonts-noto-core) \
	  || $(call install,chromium fonts-noto-core) \
	  || echo "WARNING: no Chromium, and it cannot be installed: browser tests will be skipped" >&2

beside: # Install nginx (the edge), promtool (alert rules) and amtool (notifications), if possible
	@test -n "$$NGINX" || PATH="$$PATH:/usr/sbin" command -v nginx || $(call install,nginx) \
	  || echo "WARNING: no nginx, and it cannot be installed: tests of the edge will be skipped" >&2
	@command -v promtool || $(call install,prometheus) \
	  || echo "WARNING: no promtool, and it cannot be installed: tests of the alerts will be skipped" >&2
	@command -v amtool || $(call install,prometheus-alertmanager) \
	  || echo "WARNING: no amtool, and it cannot be installed: tests of notifications will be skipped" >&2

containers: $(VENV)/.dev ## Run the Dockerfile, docker-compose.yml and the units on a container engine of their own (Debian, as root)
	@command -v dockerd >/dev/null && command -v mmdebstrap >/dev/null || $(call install,docker.io iptables mmdebstrap) \
	  || echo "WARNING: no container engine, and it cannot be installed: all tests will be skipped" >&2
	$(RUN) pytest -m containers tests/containers $(ARGS)

pictures: $(VENV)/.dev browser ## Regenerate the images of README and docs
	$(RUN) tests.browser.pictures

docs: $(VENV)/.runtime ## Generate docs/configuration.md, docs/sources.md, config/default.toml, openapi.json and Kubernetes' rules
	$(RUN) service.settings.reference
	$(RUN) service sources --markdown > docs/sources.md.new
	mv docs/sources.md.new docs/sources.md
	$(RUN) service.web.openapi.generate > service/web/openapi.json.new
	mv service/web/openapi.json.new service/web/openapi.json
	{ printf '%s\n' '# Written by `make docs` from config/prometheus/alerts.yml.' 'apiVersion: monitoring.coreos.com/v1' \
	    'kind: PrometheusRule' 'metadata:' '  name: ticker' 'spec:'; sed 's/^\(.\)/  \1/' config/prometheus/alerts.yml; } \
	  > config/kubernetes/monitoring/rules.yaml

# Message catalogues: <domain>.po is for translators, the service reads <domain>.mo
I18N := service/web/i18n/locale
PAGES := layout.html navigation.html rates.html rate.html receipt.html error.html
EXTRACT := extract --no-wrap --no-location --sort-output --keyword=N_

messages: $(VENV)/.runtime ## Extract the messages into the catalogues and compile them
	$(BIN)/pybabel -q $(EXTRACT) -F $(I18N)/babel.cfg -o $(I18N)/strip.pot service/web/i18n
	$(BIN)/pybabel -q $(EXTRACT) -F $(I18N)/babel.cfg -o $(I18N)/builder.pot service/web/embed service/web/ops service/web/templates/index.html service/web/templates/status.html
	$(BIN)/pybabel -q $(EXTRACT) -F $(I18N)/babel.cfg -o $(I18N)/pages.pot service/web/pages $(addprefix service/web/templates/,$(PAGES))
	$(BIN)/pybabel -q update --no-wrap --ignore-pot-creation-date --ignore-obsolete -D strip -i $(I18N)/strip.pot -d $(I18N)
	$(BIN)/pybabel -q update --no-wrap --ignore-pot-creation-date --ignore-obsolete -D builder -i $(I18N)/builder.pot -d $(I18N)
	$(BIN)/pybabel -q update --no-wrap --ignore-pot-creation-date --ignore-obsolete -D pages -i $(I18N)/pages.pot -d $(I18N)
	$(BIN)/pybabel -q compile -D strip -d $(I18N)
	$(BIN)/pybabel -q compile -D builder -d $(I18N)
	$(BIN)/pybabel -q compile -D pages -d $(I18N)
	rm $(I18N)/strip.pot $(I18N)/builder.pot $(I18N)/pages.pot

# esbuild bundles and minifies scripts and style sheets: its version, and the SHA-256 of its package
ESBUILD_VERSION := 0.28.2
ESBUILD_SHA256 := 9573bb2233aab0f9ea7647d5cca9726113cc1768de61d66b17267f4db84488f6
ESBUILD := .venv/esbuild-$(ESBUILD_VERSION)
BUNDLE := --bundle --minify --format=esm --target=esnext --charset=utf8 --loader:.css=text

assets: $(ESBUILD) ## Build service/web/assets and service/web/types (needs npm)
	$(ESBUILD) --log-level=warning --minify --charset=utf8 --outdir=service/web/assets service/web/static/*.css
	cd service/web/static && $(CURDIR)/$(ESBUILD) --log-level=warning $(BUNDLE) --outdir=../assets \
	  embed=element.js chart=chart-element.js frame=frame.js builder=builder.js docs=docs.js rates=rates.js incomplete=incomplete.js status=status.js
	cp service/web/static/*.svg service/web/assets/
	mkdir -p service/web/types
	cp packages/element/embed.d.ts packages/element/custom-elements.json service/web/types/

$(ESBUILD):
	set -e; new=$$(mktemp -d); trap 'rm -r "$$new"' EXIT; \
	npm pack --silent --pack-destination "$$new" @esbuild/linux-x64@$(ESBUILD_VERSION) >/dev/null; \
	echo "$(ESBUILD_SHA256)  $$new/esbuild-linux-x64-$(ESBUILD_VERSION).tgz" | sha256sum -c --quiet; \
	tar -xzf "$$new/esbuild-linux-x64-$(ESBUILD_VERSION).tgz" -C "$$new"; \
	mkdir -p .venv; cp "$$new/package/bin/esbuild" $@

# The viewer of /docs (Swagger UI): its version, and the SHA-256 of its package. To update it: change both, then run
# `make viewer` and the tests.
VIEWER := 5.35.0
VIEWER_SHA256 := 1b8e891893404ea4c3558b6a87e2a3e494e7eedba41168c2ece5800a391a6ea6

viewer: ## Update the viewer of /docs (Swagger UI) in service/web/viewer/ (needs npm)
	set -e; new=$$(mktemp -d); trap 'rm -r "$$new"' EXIT; \
	npm pack --silent --pack-destination "$$new" swagger-ui-dist@$(VIEWER) >/dev/null; \
	echo "$(VIEWER_SHA256)  $$new/swagger-ui-dist-$(VIEWER).tgz" | sha256sum -c --quiet; \
	tar -xzf "$$new/swagger-ui-dist-$(VIEWER).tgz" -C "$$new"; \
	cd "$$new/package"; gzip -9n swagger-ui-bundle.js swagger-ui.css; \
	cp swagger-ui-bundle.js.gz swagger-ui.css.gz swagger-ui-bundle.js.LICENSE.txt LICENSE NOTICE $(CURDIR)/service/web/viewer/

# The library of charts (uPlot): its version, and the SHA-256 of its package. To update it: change both, then run
# `make uplot assets` and the tests. Its licence begins the file, so that esbuild keeps it in the scripts; the
# file is that which its authors minified, 1.5 KB smaller than what esbuild makes of the module.
UPLOT := 1.6.32
UPLOT_SHA256 := 4b8a8191e425658e3ea8c8c1314b0fc679c861ee3a1af2b20c7b16ba50b5133d

uplot: ## Update the library of charts (uPlot) in service/web/static/uplot/ (needs npm)
	set -e; new=$$(mktemp -d); trap 'rm -r "$$new"' EXIT; \
	npm pack --silent --pack-destination "$$new" uplot@$(UPLOT) >/dev/null; \
	echo "$(UPLOT_SHA256)  $$new/uplot-$(UPLOT).tgz" | sha256sum -c --quiet; \
	tar -xzf "$$new/uplot-$(UPLOT).tgz" -C "$$new"; \
	mkdir -p service/web/static/uplot; cp "$$new/package/LICENSE" service/web/static/uplot/; \
	{ echo "/*!"; cat "$$new/package/LICENSE"; echo "*/"; cat "$$new/package/dist/uPlot.iife.min.js"; \
	  echo "export default uPlot;"; } > service/web/static/uplot/uPlot.js

# The font of the PNG image, with the characters that `png.py` lists, from Debian's package fonts-noto-core
NOTO := /usr/share/fonts/truetype/noto
FONTS := NotoSans-Regular NotoSans-Bold NotoSansMath-Regular NotoSansSymbols2-Regular

fonts: $(VENV)/.dev ## Subset the font of the PNG image into service/web/fonts/ (needs Debian's fonts-noto-core)
	test -f $(NOTO)/NotoSans-Regular.ttf || $(call install,fonts-noto-core)
	set -e; characters=$$($(BIN)/python -c 'from service.web.rendering.png import CHARACTERS; print(CHARACTERS)'); \
	for font in $(FONTS); do \
	  $(RUN) fontTools.subset $(NOTO)/$$font.ttf --unicodes="$$characters" --layout-features=ccmp,kern,locl,mark,mkmk \
	    --drop-tables+=MATH,meta --no-hinting --output-file=service/web/fonts/$$font.ttf; \
	done

DIST ?= dist
wordpress: ## Pack the WordPress plugin as dist/currency-ticker-wordpress.zip
	@mkdir -p "$(DIST)"
	cd packages/wordpress && $(PYTHON) -m zipfile -c "$(abspath $(DIST))/currency-ticker-wordpress.zip" currency-ticker
	@echo "$(DIST)/currency-ticker-wordpress.zip"

pin: $(VENV)/.runtime ## Copy the script of the web component to service/web/released, at a release
	$(RUN) service.web.http.assets

passwords: .env ## Write random passwords for Docker Compose to .env, unless it exists

.env:
	@umask 077 && for name in STORE_PASSWORD GRAFANA_PASSWORD; do \
	  echo "$$name=$$(od -An -N24 -tx1 /dev/urandom | tr -d ' \n')"; \
	done > $@

check: $(VENV)/.dev ## Check format, lint, types, import layers, spelling and words
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/codespell service docs config packages tests *.md Makefile
	$(RUN) tests.language

fix: $(VENV)/.dev ## Format the code and apply safe fixes of the linter
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

interface: $(VENV)/.dev ## Test the API with schemathesis, a few minutes (ARGS="-s" shows progress)
	INTERFACE_LONG=1 $(RUN) pytest tests/web/openapi/test_openapi.py -k schemathesis $(ARGS)

chaos: $(VENV)/.dev beside ## Run chaos tests against the full stack, a few minutes
	CHAOS_LONG=1 $(RUN) pytest -s tests/chaos $(ARGS)

abuse: $(VENV)/.dev beside ## Attack the service and the edge, and measure the effect on other clients, a few minutes
	$(RUN) tests.abuse $(ARGS)

fuzz: $(VENV)/.dev ## Fuzz every parser, guided by coverage, up to ten minutes (ARGS="--only nbk --inputs 100000")
	$(RUN) tests.fuzz $(ARGS)

bench: $(VENV)/.dev ## Measure speed, start-up time, memory and streams; needs wrk (ARGS="--quick", ARGS="--only streams")
	$(RUN) tests.benchmarks $(ARGS)

against: $(VENV)/.dev ## Compare CPU time and memory with another checkout (OTHER=../before ARGS="--rounds 100")
	$(RUN) tests.benchmarks.against $(OTHER) $(ARGS)

truth: $(VENV)/.dev ## Measure validation on real history with injected faults, about 15 minutes (ARGS="--quick", ARGS="--only drift")
	$(RUN) tests.truth $(ARGS)

year: $(VENV)/.dev beside ## Simulate a year without an operator: statuses, alerts, requests, memory (ARGS="--first 2026-12-24 --days 14")
	$(RUN) tests.year $(ARGS)

audit: $(VENV)/.dev ## Look up known vulnerabilities of deployed packages at osv.dev (exit status 2: the look-up failed)
	$(RUN) tests.supply.audit

licences: $(VENV)/.dev ## List the licences of deployed packages, and fail if one is not allowed
	@$(RUN) tests.supply.licences

sbom: $(VENV)/.dev ## Write the SBOM of deployed packages to sbom.cdx.json (CycloneDX)
	$(RUN) tests.supply.sbom sbom.cdx.json

MINUTES ?= 30
soak: $(VENV)/.dev ## Check that memory, open files and latency stay flat under load (MINUTES=30)
	$(RUN) tests.soak --minutes $(MINUTES)

lock: $(VENV)/.dev ## Regenerate the lock files from pyproject.toml
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --extra workers \
	  --custom-compile-command "make lock" pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --extra workers --extra otel \
	  -c requirements.lock --custom-compile-command "make lock" pyproject.toml -o requirements-otel.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --extra workers --extra otel \
	  --group dev -c requirements-otel.lock --custom-compile-command "make lock" pyproject.toml -o requirements-dev.lock

clean: ## Remove the virtual environments and caches, but not .data
	rm -rf .venv .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is required; select one: make PYTHON=python3.13 ..." >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements.lock | $(VENV)/bin/python
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $@

$(VENV)/.dev: requirements-dev.lock | $(VENV)/bin/python
	$(BIN)/python -m pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.lock
	@touch $@ $(VENV)/.runtime
