# The verbs of the project. Each is one script, so that what it does can be read and run without make.
.PHONY: help up down test check audit bench

help: ## lists the verbs
	@sed -n 's/^\([a-z]*\):.*## /  make \1  /p' Makefile

up: ## builds, creates data/ and keys/, starts both services on SQLite and prints a tour (Ctrl-C stops)
	@scripts/up.sh

down: ## stops a running `make up` gracefully
	@scripts/down.sh

test: ## installs what the tests need (Debian) and runs every test
	@scripts/test.sh

check: ## format, lints, documentation, dependency policy, generated files
	@scripts/check.sh

audit: ## known vulnerabilities of the dependencies (RustSec; needs the network)
	@scripts/audit.sh

bench: ## the benchmarks, as ratios against baselines measured in the same run
	@scripts/bench.sh
