// One event at a time through the network, behind the interface of hls4mlEmulator. Stands behind the network.

[[noreturn]] void refuse(const std::string &why) { throw std::invalid_argument(std::string(NAME) + ": " + why); }

class Emulator final : public hls4mlEmulator::Model {
  public:
    void prepare_input(std::any input) override {
        state = State::EMPTY;
        const bool found = take<const double *>(input) || take<double *>(input) || take<const std::int64_t *>(input) ||
                           take<std::int64_t *>(input) || take<const float *>(input) || take<float *>(input);
        if (!found)
            refuse("prepare_input takes a pointer to double or float (real values) or to std::int64_t (codes), with all "
                   "input values side by side, not the type " +
                   std::string(input.type().name()));
        state = State::PREPARED;
    }

    void predict() override {
        if (state == State::EMPTY)
            throw std::logic_error(std::string(NAME) + ": predict() needs prepare_input() before it");
        Net::run(buffers);
        state = State::DONE;
    }

    void read_result(std::any result) override {
        if (state != State::DONE)
            throw std::logic_error(std::string(NAME) + ": read_result() needs predict() before it");
        if (!give<double>(result) && !give<std::int64_t>(result))
            refuse("read_result takes a double* (real values) or a std::int64_t* (codes), with room for all output "
                   "values side by side, not the type " +
                   std::string(result.type().name()));
    }

  private:
    enum class State { EMPTY, PREPARED, DONE };

    // Load what a pointer of this type points to; false if there is no such pointer.
    template <class Pointer> bool take(const std::any &input) {
        const Pointer *const given = std::any_cast<Pointer>(&input);
        if (given == nullptr)
            return false;
        if (*given == nullptr)
            refuse("prepare_input was given a null pointer");
        using X = std::remove_cv_t<std::remove_pointer_t<Pointer>>;
        const X *const rows[1] = {*given};
        if (!Net::load(rows, buffers))
            refuse(std::is_integral_v<X> ? "an input code is outside its type" : "an input value is NaN or infinite");
        return true;
    }

    template <class Y> bool give(const std::any &result) {
        Y *const *const given = std::any_cast<Y *>(&result);
        if (given == nullptr)
            return false;
        if (*given == nullptr)
            refuse("read_result was given a null pointer");
        Y *const rows[1] = {*given};
        Net::store(buffers, rows, 1);
        return true;
    }

    Net::Buffers<1> buffers;
    State state = State::EMPTY;
};
