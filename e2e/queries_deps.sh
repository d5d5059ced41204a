#!/usr/bin/env bash
# What `make e2e T=queries` needs: the readers.
exec "$(dirname "$0")/readers_deps.sh"
