// The interface of the CMS emulators of hls4ml models. Include hls4ml's own emulator.h before this file, if at all.
#if !defined(HLS4ML_EMULATOR_H_) && !defined(hls4mlEmulator_Model_h)
#define hls4mlEmulator_Model_h
namespace hls4mlEmulator {

class Model {
  public:
    virtual void prepare_input(std::any input) = 0;
    virtual void predict() = 0;
    virtual void read_result(std::any result) = 0;
    virtual ~Model() = default;
};

} // namespace hls4mlEmulator
#endif
