#!/bin/bash
# Runs what the host asks for. A request is a line "request N LINE_BYTES INPUT_BYTES", a line of shell and what that
# reads; the answer a line "answer N STATUS OUT_BYTES ERR_BYTES" and what it wrote. It greets with the boot's identity.
set -u
cd /root || exit
export HOME=/root
folder=/run/vm-agent
exec 3<>/dev/virtio-ports/agent
mkdir -p "$folder"
echo "hello $(cat /proc/sys/kernel/random/boot_id)" >&3
while read -r -u 3 word number line_bytes input_bytes; do
    # What was meant for the boot before.
    [ "$word" = request ] || continue
    head -c "$line_bytes" <&3 >"$folder/line"
    head -c "$input_bytes" <&3 >"$folder/input"
    sh "$folder/line" <"$folder/input" >"$folder/out" 2>"$folder/err" 3>&-
    status=$?
    echo "answer $number $status $(stat -c %s "$folder/out") $(stat -c %s "$folder/err")" >&3
    cat "$folder/out" "$folder/err" >&3
    rm -f "$folder"/*
done
