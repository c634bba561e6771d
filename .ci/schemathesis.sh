#!/bin/sh
# Tests a running server against openapi.yaml: .ci/schemathesis.sh http://127.0.0.1:7411
# The server must ask for a key; it is read from GLEANER_API_KEY. The server's data is changed.
set -eu
cd "$(dirname "$0")/.."
url=${1:?usage: .ci/schemathesis.sh URL}
key=${GLEANER_API_KEY:?set GLEANER_API_KEY to the key of the server}
venv=target/schemathesis
[ -x "$venv/bin/schemathesis" ] || {
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet schemathesis==4.32.5
}
# it refuses ids that make no path of their own, and finds that these are too many of those it makes up: no fault of ours
exec "$venv/bin/schemathesis" --config-file .ci/schemathesis.toml run openapi.yaml --url "$url" \
    --header "Authorization: Bearer $key" --max-time 170 --max-examples 60 --request-timeout 20 \
    --seed 1 --generation-database none --warnings off --suppress-health-check filter_too_much
