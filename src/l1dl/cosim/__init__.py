"""The RTL in Verilator, cycle by cycle, against the emulator."""
