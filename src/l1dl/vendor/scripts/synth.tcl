# Synthesis out of context: no I/O buffers, as befits a block of a larger design. Run from the folder of this script.
source settings.tcl

create_project -in_memory -part $part
read_verilog [lsort [glob [file join $sources *.v]]]
# Vitis HLS writes the contents of its memories, and scripts for its IP cores, beside the Verilog.
foreach memory [lsort [glob -nocomplain [file join $sources *.dat]]] { read_mem $memory }
foreach core [lsort [glob -nocomplain [file join $sources *_ip.tcl]]] { source $core }
if {[llength [get_ips -quiet]]} {
    generate_target synthesis [get_ips]
    synth_ip [get_ips]
}
read_xdc -mode out_of_context clock.xdc

synth_design -top $top -part $part -mode out_of_context

file mkdir reports/synth
report_utilization -file reports/synth/utilization.rpt
report_timing_summary -file reports/synth/timing.rpt
write_checkpoint -force reports/synth/design.dcp
