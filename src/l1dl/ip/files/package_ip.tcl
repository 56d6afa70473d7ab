
set here [file dirname [file normalize [info script]]]
if {[llength $argv] > 0} { set part [lindex $argv 0] }

# Returns a parameter of a bus interface, which Vivado may have added by itself.
proc set_parameter {bus name value} {
    set parameter [ipx::get_bus_parameters -quiet $name -of_objects $bus]
    if {$parameter eq ""} { set parameter [ipx::add_bus_parameter $name $bus] }
    set_property value $value $parameter
}

# Makes ports a bus interface, unless Vivado has already recognised it.
proc need_bus {name ports definition core} {
    if {[ipx::get_bus_interfaces -quiet $name -of_objects $core] eq ""} {
        ipx::infer_bus_interface $ports $definition $core
    }
    set bus [ipx::get_bus_interfaces $name -of_objects $core]
    if {$bus eq ""} { error "there is no bus interface $name of the ports $ports" }
    return $bus
}

create_project -force $name [file join $here package_project] -part $part
foreach source $sources { add_files -norecurse [file join $here $source] }
set constraints [file join $here constraints ${name}_ooc.xdc]
add_files -fileset constrs_1 -norecurse $constraints
set_property USED_IN {out_of_context synthesis implementation} [get_files $constraints]
set_property top $name [current_fileset]
update_compile_order -fileset sources_1

ipx::package_project -root_dir $here -vendor $vendor -library $library -taxonomy /UserIP -force
set core [ipx::current_core]
set_property name $name $core
set_property version $version $core
set_property display_name $name $core
set_property description $description $core
set_property auto_family_support_level level_2 $core

foreach port $ports {
    if {[ipx::get_ports -quiet $port -of_objects $core] eq ""} { error "the core has no port $port" }
}
need_bus clk clk xilinx.com:signal:clock_rtl:1.0 $core
set_parameter [need_bus rst rst xilinx.com:signal:reset_rtl:1.0 $core] POLARITY ACTIVE_HIGH
foreach stream $streams {
    set members {}
    foreach signal {tvalid tready tdata tlast} { lappend members ${stream}_$signal }
    need_bus $stream $members xilinx.com:interface:axis_rtl:1.0 $core
    ipx::associate_bus_interfaces -busif $stream -clock clk $core
}
ipx::associate_bus_interfaces -clock clk -reset rst $core

ipx::create_xgui_files $core
ipx::update_checksums $core
ipx::check_integrity $core
ipx::save_core $core
close_project -delete
