#!/bin/sh
# Make sure that a Chromium is at hand for the browser tests: the system's, else the package manager's, else playwright's.
# Never fails: without one the browser tests are reported as not run.
# usage: provide_chromium.sh PYTHON
for name in chromium chromium-browser google-chrome google-chrome-stable; do
    command -v "$name" >/dev/null 2>&1 && exit 0
done
if command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ]; then
    echo "Installing Chromium by the package manager for the browser tests"
    if { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; } >/dev/null 2>&1; then
        exit 0
    fi
fi
if "$1" -m playwright install chromium >/dev/null 2>&1; then
    exit 0
fi
echo "No Chromium was found and none could be installed, so the browser tests will be reported as not run: install Chromium (for example 'apt-get install chromium') and run 'make test' again."
exit 0
