# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# Sourced by the tests that are shell scripts: counts checks and shows what failed.
checks_passed=0
checks_failed=0

# passed TEXT, failed TEXT [DETAILS]
passed() { checks_passed=$((checks_passed + 1)); }
failed() {
  checks_failed=$((checks_failed + 1))
  echo "FAILED: $1"
  [ -z "${2:-}" ] || printf '%s\n' "$2" | sed 's/^/    /' | head -n 40
}

# check TEXT COMMAND...: the command must succeed.
check() {
  local text=$1 output
  shift
  if output=$("$@" 2>&1); then passed; else failed "$text" "$output"; fi
}

# check_output TEXT EXPECTED COMMAND...: the command's standard output must be exactly this.
check_output() {
  local text=$1 expected=$2 output
  shift 2
  output=$("$@" 2>/dev/null)
  if [ "$output" = "$expected" ]; then
    passed
  else
    failed "$text" "expected: $expected
found: $output"
  fi
}

finish_checks() {
  echo "$checks_passed passed, $checks_failed failed"
  [ "$checks_failed" -eq 0 ]
  exit
}
