#!/bin/bash
# Runs the quality gates, one after the other, each on its own line with its time; the last line counts them.
# Usage: tool/quality/run_quality_checks.sh [--only GATE,...] [--skip GATE,...] [--report FILE] [--logs DIR] [--counts FILE] [--list]
#   --only, --skip   these gates alone; all but these
#   --report FILE    a summary in Markdown, written also when a gate fails or the run is interrupted
#   --logs DIR       where each gate's output is kept, as GATE.log (default: build-quality/logs, in the source tree)
#   --counts FILE    write how many were ok, failed and skipped there, instead of the last line
#   --list           the gates, in their order
# Status: 0 none failed, 1 one did, 64 usage, 73 FILE or DIR cannot be written, 130 and 143 interrupted. A gate is a program
# in tool/quality/gates and may be called by itself: docs/quality.md. QUALITY_GATES names another folder of gates.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
folder=${QUALITY_GATES:-$here/gates}

refuse() {
  echo "run_quality_checks.sh: $2" >&2
  exit "$1"
}
about() { sed -n '2s/^# //p' "$folder/$1"; }
# The words of `A,B`, each of which must be a gate.
chosen() {
  local word words
  IFS=, read -r -a words <<<"$1"
  for word in "${words[@]}"; do
    [[ " ${all[*]} " == *" $word "* ]] || refuse 64 "no gate $word; there are: ${all[*]}"
  done
  printf '%s ' "${words[@]}"
}

read -r -a all <<<"$(grep -v '^#' "$folder/order" | tr '\n' ' ')"
only="${all[*]} " skip='' report='' counts='' logs=${QUALITY_DIR:-$root/build-quality}/logs
while [ $# -gt 0 ]; do
  case $1 in
    --only | --skip | --report | --logs | --counts) [ -n "${2:-}" ] || refuse 64 "$1 needs a value; see --help" ;;
  esac
  case $1 in
    --only) only=$(chosen "$2") || exit; shift ;;
    --skip) skip=$(chosen "$2") || exit; shift ;;
    --report) report=$(realpath -m -- "$2"); shift ;;
    --counts) counts=$2; shift ;;
    --logs) logs=$(realpath -m -- "$2"); shift ;;
    --list) for gate in "${all[@]}"; do printf '%-12s %s\n' "$gate" "$(about "$gate")"; done; exit ;;
    -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit ;;
    *) refuse 64 "unknown option $1; see --help" ;;
  esac
  shift
done
gates=()
for gate in "${all[@]}"; do
  if [[ " $only" == *" $gate "* && " $skip" != *" $gate "* ]]; then gates+=("$gate"); fi
done
[ "${#gates[@]}" -gt 0 ] || refuse 64 "no gate is left to run"
mkdir -p "$logs" || refuse 73 "cannot make $logs"
if [ -n "$counts" ]; then
  : >"$counts" || refuse 73 "cannot write $counts; the directory must be there, and be yours"
fi
if [ -n "$report" ]; then
  draft=$(mktemp "$report.XXXXXX") || refuse 73 "cannot write $report; the directory must be there, and be yours"
  chmod 0644 "$draft"
fi
export QUALITY_LOGS=$logs
exec </dev/null

failed=() skipped=0 passed=0 rows='' running='' stopped=''

tell() {  # GATE RESULT SECONDS NOTE
  printf '%-8s %-12s %8s  %s\n' "$2" "$1" "$3 s" "$4"
  rows+="| $1 | $2 | $3 | ${4//|/\\|} |"$'\n'
}

# A gate has a process group of its own: this ends it and all that it started, and waits until they are gone.
end_gate() {
  local -i tenth
  kill -TERM -- "-$running" 2>/dev/null || return 0
  for ((tenth = 0; tenth < 300; ++tenth)); do
    kill -0 -- "-$running" 2>/dev/null || return 0
    sleep 0.1
  done
  kill -KILL -- "-$running" 2>/dev/null || true
}

# 0 ok, 77 skipped, anything else failed; the last line of its output says what there is to say.
run_gate() {
  local gate=$1 status=0 began=${EPOCHREALTIME/./} took result=ok note log=$logs/$1.log
  [ ! -t 1 ] || printf '%-8s %-12s\r' ... "$gate"
  rm -f "$logs/$gate.md"
  set -m
  "$folder/$gate" >"$log" 2>&1 &
  running=$!
  set +m
  wait "$running" || status=$?
  if [ -n "$stopped" ]; then end_gate; fi
  running=''
  took=$(((${EPOCHREALTIME/./} - began) / 100000))
  note=$(tail -n 1 "$log" | tr -d '\000-\037' | cut -c 1-100)
  case ${stopped:+stopped}$status in
    stopped*) result=stopped note=$log ;;
    0) passed=$((passed + 1)) ;;
    77) result=skipped skipped=$((skipped + 1)) ;;
    *) result=failed failed+=("$gate") note="status $status: $log" ;;
  esac
  tell "$gate" "$result" "$((took / 10)).$((took % 10))" "$note"
  if [ "$result" = failed ]; then tail -n 20 "$log" | sed 's/^/    /'; fi
}

close() {
  local status=$? gate commit
  trap '' INT TERM HUP
  if [ -n "$stopped" ]; then status=$((128 + stopped)); fi
  summary="$passed ok, ${#failed[@]} failed, $skipped skipped"
  if [ "${#failed[@]}" -gt 0 ]; then summary+=": ${failed[*]}"; fi
  if [ -n "$stopped" ]; then summary+='; interrupted'; fi
  if [ -n "$counts" ]; then
    echo "$passed ${#failed[@]} $skipped" >"$counts" || status=73
  else
    echo "$summary"
  fi
  if [ -n "$report" ]; then
    commit=$(git -C "$root" describe --always --dirty 2>/dev/null) || commit='no commit'
    {
      printf '# Quality of %s\n\n%s, %s processors, %s UTC.\n\n' "$commit" "$(uname -m)" "$(nproc)" "$(date -u '+%F %R')"
      printf '| gate | result | seconds | what it says |\n|---|---|---:|---|\n%s\n%s\n' "$rows" "$summary"
      for gate in "${gates[@]}"; do
        if [ -f "$logs/$gate.md" ]; then printf '\n## %s\n\n' "$gate" && cat "$logs/$gate.md"; fi
      done
    } >"$draft"
    mv -f "$draft" "$report"
  fi
  exit "$status"
}
trap close EXIT
trap 'stopped=2' INT
trap 'stopped=15' TERM HUP

for gate in "${gates[@]}"; do
  run_gate "$gate"
  [ -z "$stopped" ] || exit 1
done
[ "${#failed[@]}" -eq 0 ]
