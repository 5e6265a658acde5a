# The commands of this project. Each line after ## is its help.
SHELL := /bin/sh
STEPS := include/demo/steps
.DEFAULT_GOAL := help
.PHONY: help demo test drills check install venv lock lab-up lab-down clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "  make demo understands DEMO_NODES (3), DEMO_FROM (26.1.0), DEMO_TO (28.1.0), and DEMO_EXIT=1 to leave at the end."

demo: ## a real rolling upgrade on this machine, under load, watched live
	@sh $(STEPS)/demo.sh

test: ## everything: check, integration tests, an upgrade end to end on the lab
	@bash $(STEPS)/test.sh

drills: ## every fault of tests/drills/table.py strikes an upgrade on the lab; takes more than two hours
	@bash $(STEPS)/drills.sh

check: ## lint, types and unit tests; needs Python 3.11 and its venv module (Debian 12: python3.11-venv)
	@sh $(STEPS)/check.sh

install: ## Debian packages and the virtual environment, as demo and test need them
	@sh $(STEPS)/install.sh

venv: ## the virtual environment alone, exactly as locked, once make install has brought what compiles it
	@sh $(STEPS)/venv.sh full

lock: venv ## pin anew what requirements.txt asks for
	@sh $(STEPS)/lock.sh

lab-up: install ## bring the lab up and leave it up
	@./lab build && ./lab up

lab-down: ## take the lab down: no process, mount, bridge or cgroup stays
	@./lab down

clean: ## remove what was built in this clone (not the lab's cache)
	@rm -rf build .mypy_cache .ruff_cache .pytest_cache .hypothesis
