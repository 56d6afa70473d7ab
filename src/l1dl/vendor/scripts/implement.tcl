# Placement and routing of what synth.tcl left, out of context. Run from the folder of this script.
source settings.tcl

open_checkpoint reports/synth/design.dcp
opt_design
place_design
phys_opt_design
route_design
set worst [get_timing_paths -delay_type max]
if {[llength $worst] && [get_property SLACK $worst] < 0} {
    phys_opt_design
}

file mkdir reports/implement
report_route_status -file reports/implement/route_status.rpt
report_utilization -file reports/implement/utilization.rpt
report_utilization -hierarchical -file reports/implement/utilization_hierarchical.rpt
report_timing_summary -delay_type min_max -max_paths 10 -file reports/implement/timing.rpt
write_checkpoint -force reports/implement/design.dcp
