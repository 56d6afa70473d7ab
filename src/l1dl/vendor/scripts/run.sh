#!/bin/sh
# Runs all steps; called again, it goes on behind the last finished one. LIMIT_S: time limit of each step in s.
# Ends with results.tar.gz; bring that file back, and import it: l1dl build RUN --import results.tar.gz
set -eu
cd "$(dirname "$0")"
sha256sum --check --quiet inputs.sha256

run() { # name of the step, command and arguments
    step=$1
    shift
    if [ -e "reports/$step/finished" ]; then
        echo "$step: up to date"
        return
    fi
    rm -rf "reports/$step"
    mkdir -p "reports/$step" logs
    echo "$step: started, log in logs/$step.log"
    if timeout --kill-after=30 "${LIMIT_S:-14400}" "$@" >"logs/$step.log" 2>&1; then
        touch "reports/$step/finished"
    else
        echo "$step: failed with exit code $? (124: over the time limit); the end of logs/$step.log:" >&2
        tail -n 12 "logs/$step.log" >&2
        pack
        exit 3
    fi
}

pack() {
    tar --exclude='*.dcp' --exclude=verilog -czf results.tar.gz settings.json inputs.sha256 reports logs
}

vitis() { # step
    if command -v vitis-run >/dev/null; then
        run "$1" vitis-run --mode hls --tcl "$1.tcl"
    else
        run "$1" vitis_hls -f "$1.tcl"
    fi
}

vivado() { # step
    run "$1" vivado -mode batch -nojournal -nolog -source "$1.tcl"
}

quartus() { # step
    run "$1" quartus_sh -t "$1.tcl"
}

