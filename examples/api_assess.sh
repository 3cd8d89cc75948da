#!/bin/sh
# Assess a radiograph over the REST API: api_assess.sh RADIOGRAPH F|M
# SERVICE is the address of the service. TOKEN is needed in the mode clinic.
set -eu

radiograph=$1
sex=$2
api=${SERVICE:-http://127.0.0.1:8000}/api

call() {
    curl --silent --show-error --fail-with-body ${TOKEN:+--header "Authorization: Bearer $TOKEN"} "$@"
}

give_up() {
    printf '%s\n' "$1" >&2 # {"code": ..., "message": ...}
    exit 1
}

# Submit, and wait up to 30 s for the answer. (`jq` parses JSON more safely than `sed` and `case`.)
answer=$(call --form "radiograph=@$radiograph" --form "sex=$sex" "$api/assessments?wait=30") || give_up "$answer"
id=$(printf '%s' "$answer" | sed 's/^{"id":"\([^"]*\)".*/\1/')

while :; do
    case $answer in
        *'"state":"done"'*) break ;;
        *'"state":"queued"'* | *'"state":"running"'*) # other radiographs are waiting
            answer=$(call "$api/assessments/$id?wait=30") || give_up "$answer" ;;
        *) give_up "$answer" ;; # rejected or failed, with the reason
    esac
done

case $answer in
    *'"severity":"critical"'*) printf 'Do not use this number.\n' ;;
    *) printf '%s\n' "$answer" | sed 's/.*"age_text":"\([^"]*\)".*/Bone age: \1/' ;;
esac
printf '%s\n' "$answer" | grep -o '"severity":"[a-z]*","message":"[^"]*"' |
    sed 's/"severity":"\(.*\)","message":"\(.*\)"/Warning (\1): \2/'
for file in result overlay.png report.pdf; do
    call "$api/assessments/$id/$file" --output "$file"
done
printf 'result (JSON), overlay.png and report.pdf are written.\n'
