// Clocks a verilated design cycle by cycle: packs input codes, collects output codes with the cycle
// in which they were valid. Compiled together with the output of Verilator (prefix Vdut).
// L1DL_TRACE adds a waveform file, L1DL_PROBES the contents of all pipeline registers, L1DL_UPSETS a port
// that flips bits inside.

#include "Vdut.h"
#include "verilated.h"
#ifdef L1DL_TRACE
#include "verilated_vcd_c.h"
#endif

#include "ports.h"

struct L1dlRun {
    const std::int64_t *codes;   // (events, n_inputs): what enters, in order
    const std::uint8_t *control; // (cycles): bit 0 in_valid, bit 1 rst
    std::uint64_t cycles;
    std::uint32_t n_inputs, n_outputs;
    const std::uint32_t *input_widths, *output_widths; // bits of each value, in the order of a row
    const std::uint8_t *output_signed;                 // whether each output value is two's complement
    std::uint32_t seed;
    std::int64_t *outputs;         // (capacity, n_outputs): what comes out, in order
    std::uint64_t *output_cycles;  // (capacity): the cycle in which it was valid
    std::uint64_t capacity;
    std::uint64_t produced;        // number of valid outputs; may exceed the capacity
    const char *trace_file;        // waveform file, or null
    std::uint64_t *probes;         // (cycles, probe_words), or null
    std::uint64_t probe_words;
    const std::uint64_t *toggle_cycles; // (n_toggles): when a bit of the port `upset` changes, ascending
    const std::uint32_t *toggle_bits;   // (n_toggles): which
    std::uint64_t n_toggles;
};

extern "C" __attribute__((visibility("default"))) void l1dl_run(L1dlRun *run) {
    auto context = std::make_unique<VerilatedContext>();
    context->randReset(2); // registers without reset start with random values
    context->randSeed(static_cast<int>(run->seed % 2147483647u) + 1);
#ifdef L1DL_TRACE
    context->traceEverOn(true);
#endif
    auto dut = std::make_unique<Vdut>(context.get());
#ifdef L1DL_TRACE
    VerilatedVcdC trace;
    if (run->trace_file) {
        dut->trace(&trace, 99);
        trace.open(run->trace_file);
    }
#endif
    std::vector<std::uint64_t> input(words_of(dut->in_data) + 1), output(words_of(dut->out_data) + 1);
    const auto inputs = slots(run->input_widths, nullptr, run->n_inputs);
    const auto outputs = slots(run->output_widths, run->output_signed, run->n_outputs);
    const std::size_t used = inputs.back().word * 64 + inputs.back().shift + inputs.back().width;
    std::uint64_t state = 0x9E3779B97F4A7C15ULL ^ run->seed;
    const std::int64_t *event = run->codes;
    run->produced = 0;
#ifdef L1DL_UPSETS
    std::vector<std::uint64_t> upset(words_of(dut->upset) + 1);
    std::uint64_t toggle = 0;
    write_port(dut->upset, upset);
#endif
    for (std::uint64_t cycle = 0; cycle < run->cycles; ++cycle) {
        const bool valid = run->control[cycle] & 1;
        if (valid) {
            std::fill(input.begin(), input.end(), 0);
            for (const Slot &slot : inputs)
                slot.put(input, *event++);
        } else { // what stands at the port without in_valid must not matter
            noise(input, used, state);
        }
        dut->rst = (run->control[cycle] >> 1) & 1;
        dut->in_valid = valid;
        write_port(dut->in_data, input);
#ifdef L1DL_UPSETS
        if (toggle < run->n_toggles && run->toggle_cycles[toggle] == cycle) {
            for (; toggle < run->n_toggles && run->toggle_cycles[toggle] == cycle; ++toggle)
                upset[run->toggle_bits[toggle] / 64] ^= 1ULL << run->toggle_bits[toggle] % 64;
            write_port(dut->upset, upset);
        }
#endif
        dut->clk = 0;
        dut->eval();
        if (dut->out_valid) {
            if (run->produced < run->capacity) {
                read_port(dut->out_data, output);
                run->output_cycles[run->produced] = cycle;
                std::int64_t *row = run->outputs + run->produced * run->n_outputs;
                for (const Slot &slot : outputs)
                    *row++ = slot.get(output);
            }
            ++run->produced;
        }
#ifdef L1DL_PROBES
        if (run->probes)
            std::memcpy(run->probes + cycle * run->probe_words, &dut->probes, sizeof dut->probes);
#endif
#ifdef L1DL_TRACE
        if (run->trace_file)
            trace.dump(2 * cycle);
#endif
        dut->clk = 1;
        dut->eval();
#ifdef L1DL_TRACE
        if (run->trace_file)
            trace.dump(2 * cycle + 1);
#endif
    }
    dut->final();
#ifdef L1DL_TRACE
    if (run->trace_file)
        trace.close();
#endif
}
