// Clocks a verilated streaming design: AXI4-Stream on both sides, with random stalls.
// L1DL_LEVELS keeps the largest level of each queue.

#include "Vdut.h"
#include "verilated.h"

#include "ports.h"

struct L1dlStream {
    const std::int64_t *codes; // (beats, n_inputs): what enters, in order
    std::uint64_t beats, frame; // how many, and how many make a frame
    std::uint32_t n_inputs, n_outputs;
    const std::uint32_t *input_widths, *output_widths; // bits of each value, in the order of a beat
    const std::uint8_t *output_signed;                 // whether each output value is two's complement
    std::uint32_t seed;
    std::uint32_t input_stalls, output_stalls; // how often neither side moves, in 256ths
    std::uint64_t reset_cycle;                 // a cycle of reset, behind which everything enters again; or 0
    std::uint64_t patience;                    // cycles without a transfer after which it gives up
    std::int64_t *outputs;                     // (capacity, n_outputs): what comes out, in order
    std::uint64_t *input_cycles;               // (beats): the cycle in which each was taken
    std::uint64_t *output_cycles;              // (capacity): the cycle in which it was given
    std::uint8_t *output_last;                 // (capacity): tlast
    std::uint64_t capacity;                    // number of output beats to wait for
    std::uint64_t taken, given, cycles;        // what happened
    std::uint64_t surplus;                     // outputs beyond the capacity
    std::uint64_t broken;                      // outputs that were withdrawn or changed before they were taken
    std::uint32_t frame_error;
    std::uint32_t *levels; // (n_levels): the largest level of each queue, or null
    std::uint32_t n_levels;
};

extern "C" __attribute__((visibility("default"))) void l1dl_stream(L1dlStream *run) {
    auto context = std::make_unique<VerilatedContext>();
    context->randReset(2); // registers without reset start with random values
    context->randSeed(static_cast<int>(run->seed % 2147483647u) + 1);
    auto dut = std::make_unique<Vdut>(context.get());
    std::vector<std::uint64_t> input(words_of(dut->s_axis_tdata) + 1), output(words_of(dut->m_axis_tdata) + 1);
    std::vector<std::uint64_t> held(output.size());
    const auto inputs = slots(run->input_widths, nullptr, run->n_inputs);
    const auto outputs = slots(run->output_widths, run->output_signed, run->n_outputs);
    const std::size_t used = inputs.back().word * 64 + inputs.back().shift + inputs.back().width;
    std::uint64_t state = 0x9E3779B97F4A7C15ULL ^ run->seed;
    const auto random = [&state] {
        state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        return state >> 33;
    };
    bool presented = false, waiting = false, held_last = false;
    std::uint64_t idle = 0, after = 0;
    run->taken = run->given = run->cycles = run->surplus = run->broken = 0;
    for (std::uint64_t cycle = 0; idle < run->patience; ++cycle, ++idle) {
        const bool finished = run->given == run->capacity && run->taken == run->beats;
        if (finished && ++after > 1000) // time for beats too many
            break;
        const bool reset = cycle < 4 || cycle == run->reset_cycle;
        dut->rst = reset;
        if (reset) {
            presented = waiting = false;
            run->taken = run->given = 0;
        }
        if (!presented) {
            presented = !reset && run->taken < run->beats && (random() & 255) >= run->input_stalls;
            std::fill(input.begin(), input.end(), 0);
            if (presented)
                for (std::uint32_t index = 0; index < run->n_inputs; ++index)
                    inputs[index].put(input, run->codes[run->taken * run->n_inputs + index]);
            else // what stands at the port without tvalid must not matter
                noise(input, used, state);
        }
        dut->s_axis_tvalid = presented;
        dut->s_axis_tlast = presented ? run->taken % run->frame == run->frame - 1 : random() & 1;
        write_port(dut->s_axis_tdata, input);
        dut->m_axis_tready = (random() & 255) >= run->output_stalls;
        dut->clk = 0;
        dut->eval();
        const bool valid = dut->m_axis_tvalid && !reset;
        if (valid)
            read_port(dut->m_axis_tdata, output);
        if (waiting && (!valid || output != held || dut->m_axis_tlast != held_last))
            ++run->broken;
        if (valid && dut->m_axis_tready && run->given == run->capacity)
            ++run->surplus;
        else if (valid && dut->m_axis_tready) {
            run->output_cycles[run->given] = cycle;
            run->output_last[run->given] = dut->m_axis_tlast;
            for (std::uint32_t index = 0; index < run->n_outputs; ++index)
                run->outputs[run->given * run->n_outputs + index] = outputs[index].get(output);
            ++run->given;
            idle = 0;
        }
        waiting = valid && !dut->m_axis_tready;
        held = output;
        held_last = dut->m_axis_tlast;
        if (presented && !reset && dut->s_axis_tready) {
            run->input_cycles[run->taken++] = cycle;
            presented = false;
            idle = 0;
        }
#ifdef L1DL_LEVELS
        if (!reset) {
            std::vector<std::uint64_t> levels(words_of(dut->levels) + 1);
            read_port(dut->levels, levels);
            for (std::uint32_t index = 0; index < run->n_levels; ++index) {
                const std::uint32_t level = (levels[index / 2] >> (32 * (index % 2))) & 0xFFFFFFFF;
                run->levels[index] = std::max(run->levels[index], level);
            }
        }
#endif
        run->frame_error = dut->frame_error;
        dut->clk = 1;
        dut->eval();
        if (!finished)
            run->cycles = cycle + 1;
    }
    dut->final();
}
