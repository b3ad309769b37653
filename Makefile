# Everything runs in .venv; nothing but Python 3.11 and make is needed. `make help` lists what there is.
PYTHON ?= python3
FOR ?= 60s
BIN := .venv/bin
ROOMS := schemas scoring consumer producer api cli

.DEFAULT_GOAL := help
.PHONY: $(shell sed -n 's/^\([a-z0-9-]*\):.*\#\# .*/\1/p' $(MAKEFILE_LIST))

help: ## Show what make can do
	@grep -E '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

demo: .venv/embedded ## Watch anomalies being found; no server needed (FOR=20s for less)
	$(BIN)/skim demo --for $(FOR)

test: dev lint types ## Install what tests need, check style and types, run all tests; warn of what has become slower
# Three at once on two cores: many tests wait for a broker, a session or a clock most of the time.
	$(BIN)/python -m pytest -q -n 3 --dist loadfile --no-loadscope-reorder
	@$(BIN)/python benchmarks/bench.py --quick --mock --only stages --repeats 3 --out build/bench-quick >/dev/null 2>&1 \
	&& $(BIN)/python benchmarks/gate.py build/bench-quick/latest.json --advisory --parts .stage. \
	|| echo "no advisory benchmark: it did not run" >&2

nightly: dev ## The tests that take too long for every commit
	$(BIN)/python -m pytest -q -m nightly

chaos: dev ## The long runs with kills, zombies and rollbacks on a real Kafka and Redis
	$(BIN)/python -m pytest -q -m chaos

e2e: .venv/e2e ## The page of a running demo in Chromium (apt installs it for root); screenshots stay in build/e2e
	$(BIN)/python -m pytest -q -m e2e

lint: dev ## Style
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: dev ## Types, strictly
	$(BIN)/mypy -p skimstream
	$(BIN)/mypy tests

dev: .venv/dev build/tools/unpacked ## Install for development, and make the links that mypy follows

models: dev ## Make the demo models anew, from simulated events of seed 1001
	rm -rf build/models && mkdir -p build/models
	$(BIN)/skim simulate ztf --count 30000 --anomalies 0 --seed 1001 --night 2026-10-01 --out build/models/ztf.avro
	$(BIN)/skim train ztf build/models/ztf.avro --out scoring/models/ztf-demo
	$(BIN)/skim simulate behaviour --count 40000 --users 2000 --anomalies 2% --seed 1001 --night 2026-10-01 --out build/models/behaviour.avro --truth build/models/behaviour.truth
	$(BIN)/skim train behaviour build/models/behaviour.avro --labels build/models/behaviour.truth --out scoring/models/behaviour-demo
	$(BIN)/skim simulate observation --count 20000 --anomalies 0 --seed 1001 --night 2025-10-01 --out build/models/observation.avro
	$(BIN)/skim train observation build/models/observation.avro --out scoring/models/observation-demo

evaluate: dev ## All evaluations below, one after another: some half an hour
	$(BIN)/python benchmarks/evaluate.py

evaluate-streams: dev ## The default ensemble on streams that move and burst, and the rate of its alarms; longer at first
	$(BIN)/python benchmarks/evaluate_streams.py
	$(BIN)/python benchmarks/evaluate_calibration.py

evaluate-observation: dev ## How well false observation records are found, by two protocols; needs ../shared
	$(BIN)/python benchmarks/evaluate_observation.py

evaluate-behaviour: dev ## How well odd web sessions are found, on fresh seeds, beside published figures
	$(BIN)/python benchmarks/evaluate_behaviour.py

evaluate-fdh: dev ## Card frauds by a stream that TOML alone defines, by a published protocol; needs ../shared
	$(BIN)/python benchmarks/evaluate_fdh.py

evaluate-ztf: dev ## Which injected light curves reach a night's top 10; real cadences if ../shared is there
	$(BIN)/skim evaluate ztf $(wildcard ../shared/data/ztf/*.tar.gz ../shared/data/fink/ocf/*.avro) --seeds 8

bench: dev build/quix/ready ## The whole path from broker to board against others, as ratios (BENCH='--quick --mock' for less)
	$(BIN)/python benchmarks/bench.py --out docs/benchmarks $(BENCH)

bench-gate: dev build/quix/ready ## Fail if a ratio of `make bench` is less than the stored one beyond the tolerance
	$(BIN)/python benchmarks/bench.py --out build/bench $(BENCH)
	$(BIN)/python benchmarks/gate.py build/bench/latest.json

bench-scoring: dev ## Forest and half-space trees against scikit-learn and River, as ratios
	$(BIN)/python benchmarks/scoring.py

bench-ensemble: dev ## Events a second of the whole ensemble, by its parts
	$(BIN)/python benchmarks/ensemble.py

bench-decode: dev ## The compiled decoder against fastavro, as ratios
	$(BIN)/python benchmarks/decode.py

bench-bombs: dev ## How fast hostile messages are refused
	$(BIN)/python benchmarks/bombs.py

bench-models: dev ## How fast damaged and forged model files are refused, and in how much memory
	$(BIN)/python benchmarks/models.py

bench-serve: dev ## How fast the API answers on 90 nights, and whether a worker notices 200 slow connections
	$(BIN)/python benchmarks/serve.py

soak: dev ## Workers for HOURS (1 by default) with faults: does memory, or the time that events take, grow?
	$(BIN)/python benchmarks/soak.py --hours $(or $(HOURS),1)

bench-monitor: dev ## What rules cost the stream, and whether it notices a receiver that hangs
	$(BIN)/python benchmarks/monitor.py

bench-explain: dev ## How often reasons name what was done to an event, and what they cost
	$(BIN)/python benchmarks/explain.py

dashboards: dev ## Write Grafana's dashboards, deploy/grafana/dashboards, anew from the code beside them
	cd deploy && ../$(BIN)/python -m grafana.build

dashboard-pictures: dev ## Draw the dashboards of a demo that a real Prometheus watches, into docs/images; two minutes
	cd deploy && PYTHONPATH=../tests ../$(BIN)/python -m grafana.pictures

fuzz: .venv/fuzz ## Fuzz the decoder (FOR=600s for longer); inputs that fail are kept in build/fuzz
	$(BIN)/python fuzz/decode.py --for $(FOR)

kafka: dev ## A real Kafka for tests, until Ctrl-C; needs Java 17 and Maven (PORT=9092, else a free one)
	cd tests && ../$(BIN)/python -m brokers.kafka up $(if $(PORT),--port $(PORT))

kafka-down: ## End the Kafka that `make kafka` runs
	cd tests && ../$(BIN)/python -m brokers.kafka down

compose-test: ## Bring docker-compose.yml up and wait for the first anomaly; needs a container engine
	$(PYTHON) deploy/compose_test.py

dist: dev ## Build the wheel from what is committed
	rm -rf build/dist && mkdir -p build/dist/source && git archive HEAD | tar -x -C build/dist/source
	$(BIN)/python -m build --wheel --outdir build/dist build/dist/source

clean: ## Remove everything that was made
	rm -rf .venv build *.egg-info

.venv/bin/python:
	$(PYTHON) -m venv .venv

.venv/embedded: pyproject.toml | .venv/bin/python
	$(BIN)/pip install -q -e '.[embedded]'
	touch $@

.venv/dev: pyproject.toml | .venv/bin/python
	$(BIN)/pip install -q -e '.[dev]'
	mkdir -p build/types/skimstream
	for room in $(ROOMS); do ln -sfn ../../../$$room build/types/skimstream/$$room; done
	touch $@ .venv/embedded

# Debian's Prometheus and Alertmanager with promtool and amtool for the tests: unpacked, never installed, so that no
# service starts. A clean container knows no packages until it has been told by `apt-get update`, which needs root.
# Alertmanager opens its templates below /usr/share; sed makes that a path of the same length below its folder.
APT := apt-get -qq -o APT::Sandbox::User=root -o Acquire::Retries=0 -o Acquire::http::Timeout=20
TOOLS := prometheus prometheus-alertmanager
build/tools/unpacked:
	@rm -rf build/tools && mkdir -p build/tools && cd build/tools \
	&& { $(APT) download $(TOOLS) 2>/dev/null || { $(APT) update && $(APT) download $(TOOLS); }; } \
	&& for package in *.deb; do dpkg-deb -x "$$package" .; done && rm *.deb \
	&& LC_ALL=C sed -i 's,/usr/share/prometheus/alertmanager,usr/share/prometheus/alertmanager/,g' usr/bin/prometheus-alertmanager \
	&& touch unpacked \
	|| echo 'no Prometheus: apt-get download $(TOOLS) failed; its tests are skipped'

.venv/e2e: pyproject.toml | .venv/dev
	$(BIN)/pip install -q -e '.[e2e]'
	command -v chromium || { test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium; } || echo 'no Chromium: its tests are skipped'
	mkdir -p build/e2e/axe && cd build/e2e/axe && npm pack --silent axe-core@4 && tar xzf axe-core-*.tgz package/axe.min.js || echo 'no axe-core: its test is skipped'
	mkdir -p build/e2e/asyncapi && cd build/e2e/asyncapi && npm pack --silent @asyncapi/specs@6 && tar xzf asyncapi-specs-*.tgz package/schemas/3.0.0.json || echo 'no AsyncAPI schema: its test is skipped'
	touch $@

# Quix Streams asks for an older client than ours: an environment of its own, and without it that contender isn't run.
build/quix/ready: pyproject.toml | .venv/bin/python
	rm -rf build/quix && $(PYTHON) -m venv build/quix
	build/quix/bin/pip install -q -e '.[quix]' && touch $@ || echo 'no Quix Streams: that contender is left out'

.venv/fuzz: pyproject.toml | .venv/dev
	$(BIN)/pip install -q -e '.[fuzz]'
	touch $@
