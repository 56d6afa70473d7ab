# C synthesis of the hls4ml project with the settings of its own build_prj.tcl. Run from the folder of this script.
source settings.tcl
cd hls

open_project -reset ${top}_prj
set_top $top
add_files firmware/${top}.cpp -cflags "-std=c++0x"
# RTL_SIM: the test bench writes rtl_cosim_results.log.
add_files -tb ${top}_test.cpp -cflags "-std=c++0x -DRTL_SIM"
add_files -tb firmware/weights
add_files -tb tb_data
open_solution -reset "solution1"
catch {config_array_partition -maximum_size $maximum_size}
config_compile -name_max_length 80
set_part $part
config_schedule -enable_dsp_full_reg=false
create_clock -period $clock_period_ns -name default
set_clock_uncertainty $clock_uncertainty default
csynth_design

file mkdir ../reports/csynth
foreach kind {xml rpt} {
    file copy -force ${top}_prj/solution1/syn/report/${top}_csynth.$kind ../reports/csynth/csynth.$kind
}
file copy ${top}_prj/solution1/syn/verilog ../reports/csynth/verilog
exit
