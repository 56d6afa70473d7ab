// Events through a network, block by block, on several threads. Inside the namespace of the generated networks.

// Events that a thread takes at a time.
constexpr std::size_t CHUNK = 1024;

// What rows hold, as `l1dl.emulate.compiled` numbers it.
enum Kind { CODES = 0, DOUBLE = 1, FLOAT = 2 };

enum Status { DONE = 0, REFUSED = 1, NO_MEMORY = 2 };

// Rows of inputs, rows for results, and what both hold.
struct Rows {
    const void *inputs;
    void *outputs;
    Kind in, out;
};

template <class Net, int L, class X> bool load_rows(const void *inputs, std::size_t start, int lanes, void *buffers) {
    const X *rows[L]; // lanes without an event repeat the last one
    for (int lane = 0; lane < L; ++lane)
        rows[lane] = static_cast<const X *>(inputs) + (start + std::size_t(std::min(lane, lanes - 1))) * Net::inputs;
    return Net::load(rows, *static_cast<typename Net::template Buffers<L> *>(buffers));
}

template <class Net, int L, class Y> void store_rows(void *outputs, std::size_t start, int lanes, void *buffers) {
    Y *rows[L];
    for (int lane = 0; lane < L; ++lane)
        rows[lane] = static_cast<Y *>(outputs) + (start + std::size_t(std::min(lane, lanes - 1))) * Net::outputs;
    Net::store(*static_cast<typename Net::template Buffers<L> *>(buffers), rows, lanes);
}

// Pass L events, or the few that are left; false where a value is refused.
template <class Net, int L> bool pass_block(const Rows &rows, std::size_t start, int lanes, void *buffers) {
    bool taken = false;
    if (rows.in == CODES)
        taken = load_rows<Net, L, std::int64_t>(rows.inputs, start, lanes, buffers);
    else if (rows.in == DOUBLE)
        taken = load_rows<Net, L, double>(rows.inputs, start, lanes, buffers);
    else
        taken = load_rows<Net, L, float>(rows.inputs, start, lanes, buffers);
    if (!taken)
        return false;
    Net::run(*static_cast<typename Net::template Buffers<L> *>(buffers));
    if (rows.out == CODES)
        store_rows<Net, L, std::int64_t>(rows.outputs, start, lanes, buffers);
    else
        store_rows<Net, L, double>(rows.outputs, start, lanes, buffers);
    return true;
}

// A network for the threads: what passes a block, and its buffers.
struct Network {
    std::size_t lanes;
    bool (*pass)(const Rows &, std::size_t, int, void *);
    void *(*create)();
    void (*destroy)(void *);
};

template <class Net, int L> constexpr Network network_of() {
    using Buffers = typename Net::template Buffers<L>;
    return {L, pass_block<Net, L>, []() -> void * { return new Buffers; },
            [](void *buffers) { delete static_cast<Buffers *>(buffers); }};
}

int run_batch(const Network &network, const Rows &rows, std::size_t events, unsigned threads) noexcept {
    std::atomic<std::size_t> next{0};
    std::atomic<bool> refused{false};
    auto work = [&](void *buffers) {
        for (;;) {
            const std::size_t first = next.fetch_add(CHUNK), end = std::min(first + CHUNK, events);
            if (first >= events || refused)
                return;
            for (std::size_t start = first; start < end; start += network.lanes) {
                const int lanes = int(std::min(network.lanes, end - start));
                if (!network.pass(rows, start, lanes, buffers))
                    refused = true;
            }
        }
    };
    const std::size_t workers = std::max<std::size_t>(1, std::min<std::size_t>(threads, events / CHUNK + 1));
    std::vector<std::unique_ptr<void, void (*)(void *)>> buffers;
    std::vector<std::thread> pool;
    try {
        buffers.reserve(workers);
        pool.reserve(workers);
        for (std::size_t worker = 0; worker < workers; ++worker)
            buffers.emplace_back(network.create(), network.destroy);
    } catch (const std::bad_alloc &) {
        return NO_MEMORY;
    }
    try {
        for (std::size_t worker = 1; worker < workers; ++worker)
            pool.emplace_back(work, buffers[worker].get());
    } catch (const std::system_error &) { // no more threads: those that run do the work
    }
    work(buffers[0].get());
    for (auto &thread : pool)
        thread.join();
    return refused ? REFUSED : DONE;
}
