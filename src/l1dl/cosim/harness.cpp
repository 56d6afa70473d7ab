// Clocks a verilated design cycle by cycle: packs input codes, collects output codes with the cycle
// in which they were valid. Compiled together with the output of Verilator (prefix Vdut).
// L1DL_TRACE adds a waveform file, L1DL_PROBES the contents of all pipeline registers.

#include "Vdut.h"
#include "verilated.h"
#ifdef L1DL_TRACE
#include "verilated_vcd_c.h"
#endif

#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

namespace {

// A port of any width as an array of bytes; Verilator keeps bits little-endian in all its types.
template <typename Port> void write_port(Port &port, const std::vector<std::uint64_t> &words) {
    std::memcpy(&port, words.data(), sizeof port);
}
template <typename Port> void read_port(const Port &port, std::vector<std::uint64_t> &words) {
    std::memcpy(words.data(), &port, sizeof port);
}
template <typename Port> std::size_t words_of(const Port &port) { return sizeof port / 8 + 1; }

std::uint64_t mask(unsigned width) { return width == 64 ? ~0ULL : (1ULL << width) - 1; }

void put(std::vector<std::uint64_t> &words, std::size_t bit, unsigned width, std::uint64_t value) {
    const std::size_t word = bit / 64, shift = bit % 64;
    value &= mask(width);
    words[word] |= value << shift;
    if (shift + width > 64)
        words[word + 1] |= value >> (64 - shift);
}

std::int64_t get(const std::vector<std::uint64_t> &words, std::size_t bit, unsigned width, bool is_signed) {
    const std::size_t word = bit / 64, shift = bit % 64;
    std::uint64_t value = words[word] >> shift;
    if (shift + width > 64)
        value |= words[word + 1] << (64 - shift);
    value &= mask(width);
    if (is_signed && (value >> (width - 1)) & 1)
        value |= ~mask(width);
    return static_cast<std::int64_t>(value);
}

} // namespace

struct L1dlRun {
    const std::int64_t *codes;   // (events, n_inputs): what enters, in order
    const std::uint8_t *control; // (cycles): bit 0 in_valid, bit 1 rst
    std::uint64_t cycles;
    std::uint32_t n_inputs, input_width, n_outputs, output_width, output_signed, seed;
    std::int64_t *outputs;         // (capacity, n_outputs): what comes out, in order
    std::uint64_t *output_cycles;  // (capacity): the cycle in which it was valid
    std::uint64_t capacity;
    std::uint64_t produced;        // number of valid outputs; may exceed the capacity
    const char *trace_file;        // waveform file, or null
    std::uint64_t *probes;         // (cycles, probe_words), or null
    std::uint64_t probe_words;
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
    std::uint64_t noise = 0x9E3779B97F4A7C15ULL ^ run->seed;
    const std::int64_t *event = run->codes;
    run->produced = 0;
    for (std::uint64_t cycle = 0; cycle < run->cycles; ++cycle) {
        const bool valid = run->control[cycle] & 1;
        if (valid) {
            std::fill(input.begin(), input.end(), 0);
            for (std::uint32_t index = 0; index < run->n_inputs; ++index)
                put(input, std::size_t(index) * run->input_width, run->input_width, *event++);
        } else { // what stands at the port without in_valid must not matter
            for (auto &word : input)
                word = noise = noise * 6364136223846793005ULL + 1442695040888963407ULL;
            const std::size_t used = std::size_t(run->n_inputs) * run->input_width;
            for (std::size_t word = 0; word < input.size(); ++word) {
                const std::size_t from = word * 64;
                if (from >= used)
                    input[word] = 0;
                else if (used - from < 64)
                    input[word] &= mask(used - from);
            }
        }
        dut->rst = (run->control[cycle] >> 1) & 1;
        dut->in_valid = valid;
        write_port(dut->in_data, input);
        dut->clk = 0;
        dut->eval();
        if (dut->out_valid) {
            if (run->produced < run->capacity) {
                read_port(dut->out_data, output);
                run->output_cycles[run->produced] = cycle;
                for (std::uint32_t index = 0; index < run->n_outputs; ++index)
                    run->outputs[run->produced * run->n_outputs + index] =
                        get(output, std::size_t(index) * run->output_width, run->output_width, run->output_signed);
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
