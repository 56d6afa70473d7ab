// Runs the top function of an hls4ml project over a batch of events, on several threads.
// L1DL_TOP names the function of the project's bridge that takes and returns doubles; L1DL_PARAMETERS are the
// types of its arguments, and L1DL_ARGUMENTS where each of them begins in the row of one event. The top function of
// a project of streams keeps lines of the image and its position in static variables: L1DL_STREAMS takes one event
// after the other, whoever calls.

#include <cstddef>
#include <mutex>
#include <thread>
#include <vector>

extern "C" void L1DL_TOP(L1DL_PARAMETERS);

static void run_event(double *in, double *out) { L1DL_TOP(L1DL_ARGUMENTS); }

extern "C" __attribute__((visibility("default"))) void
l1dl_csim(double *inputs, double *outputs, std::size_t events, std::size_t n_inputs, std::size_t n_outputs,
          unsigned threads) {
    if (events == 0)
        return;
    auto work = [=](std::size_t begin, std::size_t end) {
        for (std::size_t event = begin; event < end; ++event)
            run_event(inputs + event * n_inputs, outputs + event * n_outputs);
    };
#ifdef L1DL_STREAMS
    static std::mutex only;
    std::lock_guard<std::mutex> alone(only);
    work(0, events);
#else
    run_event(inputs, outputs); // the first event loads the weights, which must happen on one thread
    std::vector<std::thread> pool;
    for (unsigned part = 0; part < threads; ++part)
        pool.emplace_back(work, events * part / threads, events * (part + 1) / threads);
    for (auto &thread : pool)
        thread.join();
#endif
}
