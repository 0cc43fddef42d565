#!/usr/bin/env bash
# One night, as the workflow runs it and as it can be run by hand: data, night, retention, summary.
#
#   CONFIG   nightly configuration           default .github/nightly.yaml, the demo
#   NIGHT    ISO date                        default today in UTC
#   DEVICE   cpu, cuda, ...                  default: the configuration's
#   HARNESS  the command                     default harness
#
# Exits with the night's code (1 regression, 3 a run failed, 4 open); GITHUB_OUTPUT gets code=, GITHUB_STEP_SUMMARY
# the report. Everything it was given comes from the environment, never from the text of a workflow.
set -uo pipefail
cd "$(dirname "$0")/.."
config=${CONFIG:-.github/nightly.yaml}
night=${NIGHT:-$(date -u +%F)}
read -r -a harness <<<"${HARNESS:-harness}"
state=nightly

if [ "$config" = .github/nightly.yaml ]; then
  mkdir -p "$state"
  [ -d "$state/demo/data" ] || "${harness[@]}" demo -o "$state/demo" || exit
fi

options=(--date "$night")
[ -z "${DEVICE:-}" ] || options+=(--device "$DEVICE")
"${harness[@]}" nightly "$config" "${options[@]}"
code=$?
[ -z "${GITHUB_OUTPUT:-}" ] || echo "code=$code" >>"$GITHUB_OUTPUT"

if [ "$code" -ne 2 ] && [ "$code" -ne 130 ]; then
  "${harness[@]}" nightly "$config" --prune --yes || [ "$code" -ne 0 ] || code=$?
fi
summary="${HISTORY:-$state/history}/nights/$night.md"
if [ -f "$summary" ] && [ -n "${GITHUB_STEP_SUMMARY:-}" ]; then
  cat "$summary" >>"$GITHUB_STEP_SUMMARY"
fi
exit "$code"
