#!/usr/bin/env bash
# Codes the pictures that appear in a folder, each to a size at most, until it is stopped.
#
#     snapshots.sh FOLDER OUTPUT [BYTES [SECONDS]]
#
# A picture is taken when nobody has written to it for SECONDS (10); one that fails is tried again after as long.
# The camera's files stay where they are: deleting them is its own business.
set -euo pipefail
from=${1%/} to=${2%/} bytes=${3:-20000} seconds=${4:-10}
trap 'exit 0' INT TERM

while :; do
    find "$from" -type f -iname '*.jpg' ! -newermt "$seconds seconds ago" -print0 |
        while IFS= read -r -d '' photo; do
            name=${photo#"$from"/}
            file=$to/${name%.*}.dip
            [[ -e $file ]] || diptych encode "$photo" -o "$file" --target-size "$bytes" || true
        done
    sleep "$seconds" & wait $!
done
