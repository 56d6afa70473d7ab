# Compilation with virtual pins, as befits a block of a larger design. Run from the folder of this script.
source settings.tcl
load_package flow

file mkdir reports/implement
project_new design -revision design -overwrite
set_global_assignment -name DEVICE $part
set_global_assignment -name TOP_LEVEL_ENTITY $top
set_global_assignment -name SDC_FILE clock.sdc
set_global_assignment -name PROJECT_OUTPUT_DIRECTORY reports/implement
set_global_assignment -name FLOW_DISABLE_ASSEMBLER ON
foreach source [lsort [glob [file join $sources *.v]]] {
    set_global_assignment -name VERILOG_FILE $source
}
# By name: a wildcard would match the nodes inside, too. The clock stays a real pin.
foreach port $ports {
    set_instance_assignment -name VIRTUAL_PIN ON -to $port
    set_instance_assignment -name VIRTUAL_PIN ON -to "$port\[*\]"
}
execute_flow -compile
project_close
