# Simulation of the Verilog that csynth.tcl made, with the C++ test bench. Run from the folder of this script.
source settings.tcl
cd hls

open_project ${top}_prj
open_solution "solution1"
cosim_design -rtl verilog

file mkdir ../reports/cosim
file copy -force ${top}_prj/solution1/sim/report/${top}_cosim.rpt ../reports/cosim/cosim.rpt
file copy -force tb_data/rtl_cosim_results.log ../reports/cosim/outputs.log
exit
