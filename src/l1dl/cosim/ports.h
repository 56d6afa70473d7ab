// Packs codes into ports of any width, and back.
#ifndef L1DL_PORTS_H
#define L1DL_PORTS_H

#include <algorithm>
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

// One value's bits in a port: where they start, and how they become a code.
struct Slot {
    std::size_t word;
    unsigned shift, width;
    std::uint64_t bits, sign; // masks of all bits and of the sign; no sign where unsigned

    void put(std::vector<std::uint64_t> &words, std::uint64_t code) const {
        code &= bits;
        words[word] |= code << shift;
        if (shift + width > 64)
            words[word + 1] |= code >> (64 - shift);
    }

    std::int64_t get(const std::vector<std::uint64_t> &words) const {
        std::uint64_t code = words[word] >> shift;
        if (shift + width > 64)
            code |= words[word + 1] << (64 - shift);
        code &= bits;
        return static_cast<std::int64_t>((code ^ sign) - sign); // two's complement from the sign upwards
    }
};

std::vector<Slot> slots(const std::uint32_t *widths, const std::uint8_t *is_signed, std::uint32_t count) {
    std::vector<Slot> result;
    std::size_t bit = 0;
    for (std::uint32_t index = 0; index < count; ++index) {
        const unsigned width = widths[index];
        const std::uint64_t sign = is_signed && is_signed[index] ? 1ULL << (width - 1) : 0;
        result.push_back({bit / 64, unsigned(bit % 64), width, mask(width), sign});
        bit += width;
    }
    return result;
}

// Random bits in the lowest `used` bits of a port, zeros above.
void noise(std::vector<std::uint64_t> &words, std::size_t used, std::uint64_t &state) {
    for (std::size_t word = 0; word < words.size(); ++word) {
        state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        const std::size_t from = word * 64;
        words[word] = from >= used ? 0 : used - from < 64 ? state & mask(used - from) : state;
    }
}

} // namespace

#endif
