# Everything a fresh machine needs is set up by the targets that need it. `make help` lists them.
PYTHON ?= python3
BIN := .venv/bin
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help run serve test coverage system-packages check bench fuzz commands docs diagrams pictures tour ohif lock sbom licences audit clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'

CATALOGUES := $(wildcard src/boneage/locale/*/LC_MESSAGES/django.po)

.venv/.base: pyproject.toml constraints.txt setup.py $(CATALOGUES)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/.web: .venv/.base
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[web]'
	touch $@

.venv/.dev: .venv/.base
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[train,web,pacs,archive,dev]'
	touch $@

run: .venv/.base  ## assess a reference plate of a known age with the shipped bundle: months, overlay and report in out/
	$(BIN)/boneage sample out/sample.png --force
	$(BIN)/boneage assess out/sample.png --sex F --age 11y0m --out out

serve: .venv/.web  ## the service on http://127.0.0.1:8000, with the shipped bundle and atlas
	$(BIN)/boneage serve --store out/service

test: .venv/.dev  ## all tests; those without their browser or PostgreSQL are skipped
	$(BIN)/pytest --numprocesses auto --dist loadfile

coverage: .venv/.dev  ## all tests with the coverage gate, which costs two fifths more processor time
	$(BIN)/pytest --numprocesses auto --dist loadfile --cov --cov-report=term:skip-covered

system-packages:  ## install Chromium, PostgreSQL, Orthanc and DICOM tools, which tests start (Debian, as root)
	tools/system-packages.sh

check: .venv/.dev  ## format, lint, types, import contracts, docs, language, translations, lock, licences
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/check.py
	$(BIN)/python tools/language.py
	$(BIN)/python tools/languages.py check
	$(BIN)/python tools/supply_chain.py check

commands: .venv/.dev  ## write docs/commands.md anew from the commands' own help
	$(BIN)/python docs/check.py --write

docs: .venv/.dev  ## the documentation site in out/site, without network
	$(BIN)/mkdocs build  # with --quiet, warnings would not fail it

diagrams:  ## fetch the library that draws the diagrams of the site (npm); without it `make docs` shows their text
	mkdir -p out/mermaid
	cd out/mermaid && npm pack --silent mermaid@11.12.0 && tar -xzf mermaid-11.12.0.tgz && rm mermaid-11.12.0.tgz

bench: .venv/.dev  ## latency of the whole walk by step, and cold start
	$(BIN)/python benchmarks/latency.py
	$(BIN)/python benchmarks/cold_start.py

fuzz: .venv/.dev  ## 10,000 damaged files through read_radiograph
	$(BIN)/python benchmarks/fuzz_radiograph.py --count 10000 --seed 0

pictures: .venv/.dev  ## the pages' pictures in docs/images, from a demonstration clinic in a real browser
	$(BIN)/python tools/pictures.py

tour: .venv/.dev  ## the animated tour of the pages in docs/images, with a reference plate in a real browser
	$(BIN)/python tools/tour.py

out/ohif/package:
	mkdir -p out/ohif
	cd out/ohif && npm pack --silent @ohif/app@3.13.2 && tar -xzf ohif-app-3.13.2.tgz && rm ohif-app-3.13.2.tgz

ohif: .venv/.dev out/ohif/package  ## result objects in the viewer OHIF on a real Orthanc: pictures in out/ohif
	$(BIN)/python tools/ohif.py out/ohif/package/dist out/ohif

lock: .venv/.dev  ## write requirements-service.txt anew: what the service installs, with hashes
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --extra web --extra pacs --constraint constraints.txt --generate-hashes \
	  --no-header --annotation-style line --output-file requirements-service.txt pyproject.toml

sbom: .venv/.dev  ## out/sbom.json: what the service installs, as CycloneDX, from an environment made by the lock
	$(PYTHON) -m venv --clear out/service
	out/service/bin/pip install --quiet --require-hashes --only-binary :all: --requirement requirements-service.txt
	PIP_CONSTRAINT=constraints.txt out/service/bin/pip install --quiet --no-deps .
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-file out/sbom.json out/service/bin/python

licences: .venv/.dev  ## the licences of what the service installs
	$(BIN)/python tools/supply_chain.py licences

audit: .venv/.dev  ## known faults of the packages in constraints.txt (asks a public database)
	$(BIN)/pip-audit --strict --no-deps --disable-pip --requirement constraints.txt

clean:  ## what the targets above made
	rm -rf .venv out build dist .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
