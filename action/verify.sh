#!/usr/bin/env bash
# Ask onnxnnw about the files, say the answer in the job's summary and outputs, and end as the mode wants.
# Inputs come by environment and are never part of a command's text: FILES RECORD RECORDS POLICY REQUIRE MIN_EXPLAINED MODE
# SARIF ATTESTATION VERDICT.
set -uo pipefail
shopt -s globstar nullglob

wrong_usage() {
    printf 'onnxnnw action: %s\n' "$1" >&2
    finish 2
}

finish() {
    local code=$1 answer
    case $code in
        0) answer=yes ;;
        1) answer=no ;;
        2) answer=wrong-usage ;;
        *) answer=could-not-look ;;
    esac
    printf 'answer=%s\nexit-code=%s\n' "$answer" "$code" >>"${GITHUB_OUTPUT:-/dev/null}"
    if [ "$code" -ne 0 ] && [ "$code" -ne 2 ] && [ "${MODE:-enforce}" = warn ]; then
        printf '::warning title=onnxnnw::the answer is %s; the mode is warn, so the step goes on\n' "$answer"
        exit 0
    fi
    exit "$code"
}

# A line each: what exists under this very name is taken as it is, everything else as a pattern. No word splitting.
expand() {
    local line match IFS=
    while read -r line || [ -n "$line" ]; do
        line=${line%$'\r'}
        [ -n "$line" ] || continue
        if [ -e "$line" ]; then
            expanded+=("$line")
            continue
        fi
        local before=${#expanded[@]}
        # shellcheck disable=SC2206 # the pattern is meant to become names, and IFS keeps each whole
        local matches=($line)
        for match in "${matches[@]}"; do expanded+=("$match"); done
        # a plain name that is not there is for onnxnnw to miss; a pattern that matches nothing is said here
        if [ "${#expanded[@]}" -eq "$before" ]; then
            case $line in
                *[*?[]*) wrong_usage "nothing matches $(printf '%q' "$line")" ;;
                *) expanded+=("$line") ;;
            esac
        fi
    done <<<"$1"
}

case ${MODE:-enforce} in
    enforce | warn) ;;
    *) wrong_usage "the mode is enforce or warn" ;;
esac

expanded=()
expand "${FILES:-}"
files=("${expanded[@]}")
for index in "${!files[@]}"; do # a name that begins with a dash is no option
    case ${files[index]} in -*) files[index]=./${files[index]} ;; esac
done

if [ -n "${POLICY:-}" ]; then
    command=(onnxnnw check "--policy=$POLICY")
else
    [ "${#files[@]}" -gt 0 ] || wrong_usage "give files, or a policy that names them"
    command=(onnxnnw verify "--require=${REQUIRE:-traced}" "--min-explained=${MIN_EXPLAINED:-0}")
    expanded=()
    expand "${RECORD:-}"
    for record in "${expanded[@]}"; do command+=("--record=$record"); done
    [ -z "${RECORDS:-}" ] || command+=("--records=$RECORDS")
fi
evidence=()
[ -z "${SARIF:-}" ] || evidence+=("--sarif=$SARIF")
[ -z "${ATTESTATION:-}" ] || evidence+=("--attestation=$ATTESTATION")

report=$(mktemp)
trap 'rm -f "$report"' EXIT
"${command[@]}" "${evidence[@]}" -- "${files[@]}" 2>&1 | tee "$report"
code=${PIPESTATUS[0]}

if [ -n "${VERDICT:-}" ] && [ "$code" -ne 2 ]; then
    "${command[@]}" --json -- "${files[@]}" >"$VERDICT.partial"
    if [ -s "$VERDICT.partial" ]; then mv -- "$VERDICT.partial" "$VERDICT"; else rm -f -- "$VERDICT.partial"; fi
fi

{
    case $code in
        0) printf '### onnxnnw: yes\n' ;;
        1) printf '### onnxnnw: no\n' ;;
        *) printf '### onnxnnw: could not look (exit code %s)\n' "$code" ;;
    esac
    # names come from files: nothing in them may act as HTML or Markdown
    printf '\n<pre>\n'
    head -c 200000 "$report" | sed -e 's/&/\&amp;/g' -e 's/</\&lt;/g' -e 's/>/\&gt;/g'
    printf '\n</pre>\n'
} >>"${GITHUB_STEP_SUMMARY:-/dev/null}"

finish "$code"
