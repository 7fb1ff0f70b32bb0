// Lets a CPU build of torch believe in two CUDA devices. It brings no kernel: tests/cuda/device.py
// answers every operation. Here stand the parts of CUDA that torch asks for in C++: which device is
// current in this thread, streams and events, which are idle at all times, and what is built in.
// torch looks the hooks up once, so a process loads this before it imports torch.
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>

namespace {

using c10::Device;
using c10::DeviceIndex;
using c10::DeviceType;
using c10::Stream;

constexpr DeviceIndex kDevices = 2;
thread_local DeviceIndex current = 0;

Stream idle(Device device) {
  const auto index = device.index() < 0 ? current : device.index();
  return Stream(Stream::DEFAULT, Device(DeviceType::CUDA, index));
}

DeviceIndex exchange(DeviceIndex index) {
  const auto before = current;
  if (index >= 0) current = index;
  return before;
}

struct PretendedGuard final : c10::impl::DeviceGuardImplInterface {
  DeviceType type() const override { return DeviceType::CUDA; }
  DeviceIndex deviceCount() const noexcept override { return kDevices; }
  Device getDevice() const override { return Device(DeviceType::CUDA, current); }
  Device exchangeDevice(Device device) const override {
    return Device(DeviceType::CUDA, exchange(device.index()));
  }
  void setDevice(Device device) const override { exchange(device.index()); }
  void uncheckedSetDevice(Device device) const noexcept override { exchange(device.index()); }
  Stream getStream(Device device) const noexcept override { return idle(device); }
  Stream getDefaultStream(Device device) const override { return idle(device); }
  Stream getNewStream(Device device, int) const override { return idle(device); }
  Stream exchangeStream(Stream stream) const noexcept override { return idle(stream.device()); }
  void record(void**, const Stream&, const DeviceIndex, const c10::EventFlag) const override {}
  void block(void*, const Stream&) const override {}
  void destroyEvent(void*, const DeviceIndex) const noexcept override {}
  bool queryEvent(void*) const override { return true; }
  bool queryStream(const Stream&) const override { return true; }
  void synchronizeStream(const Stream&) const override {}
};

C10_REGISTER_GUARD_IMPL(CUDA, PretendedGuard)

}  // namespace

namespace at {

// torch finds the hooks by this name.
struct CUDAHooks final : CUDAHooksInterface {
  explicit CUDAHooks(CUDAHooksArgs) {}
  void init() const override {}
  bool isBuilt() const override { return true; }
  bool isAvailable() const override { return true; }
  bool hasCUDA() const override { return true; }
  bool hasCUDART() const override { return true; }
  bool hasCuBLASLt() const override { return true; }
  bool hasPrimaryContext(c10::DeviceIndex) const override { return true; }
  c10::DeviceIndex deviceCount() const override { return kDevices; }
  int getNumGPUs() const override { return kDevices; }
  c10::DeviceIndex current_device() const override { return current; }
  c10::DeviceIndex getCurrentDevice() const override { return current; }
  void setCurrentDevice(c10::DeviceIndex index) const override { exchange(index); }
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex index) const override {
    return exchange(index);
  }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex index) const override {
    return exchange(index);
  }
  void deviceSynchronize(c10::DeviceIndex) const override {}
};

REGISTER_CUDA_HOOKS(CUDAHooks)

}  // namespace at
