#!/usr/bin/env bash
# Commit a night's history to the branch `results`, which holds nothing else, and push it.
#
#   publish-results.sh HISTORY [REMOTE]      REMOTE: default origin
#
# A push that another one overtook is tried again on top of it; a history without news makes no commit.
set -euo pipefail
history=$(cd "$1" && pwd)
remote=${2:-origin}
tree=$(mktemp -d)
first=results-first-$$
clear_tree() {
  git worktree remove --force "$tree" 2>/dev/null || rm -rf "$tree"
  git branch --quiet -D "$first" 2>/dev/null || true
}
trap clear_tree EXIT

for attempt in 1 2 3; do
  clear_tree
  if git fetch --quiet --depth=1 "$remote" results 2>/dev/null; then
    git worktree add --quiet --detach "$tree" FETCH_HEAD
  else
    git worktree add --quiet --detach --no-checkout "$tree" HEAD
    git -C "$tree" switch --quiet --orphan "$first"
  fi
  # what retention removed here goes there too: the branch shows the history as it is
  find "$tree" -mindepth 1 -maxdepth 1 ! -name .git -exec rm -rf {} +
  cp -R "$history"/. "$tree"/
  git -C "$tree" add --all
  if git -C "$tree" diff --cached --quiet; then
    echo "nothing new for the branch results"
    exit 0
  fi
  newest=$(find "$tree/nights" -name '????-??-??.json' -exec basename {} .json \; | sort | tail -n 1)
  git -C "$tree" commit --quiet -m "Night of $newest"
  if git -C "$tree" push --quiet "$remote" HEAD:refs/heads/results; then
    echo "pushed the night of $newest"
    exit 0
  fi
  echo "attempt $attempt: the branch moved, trying again" >&2
done
exit 1
