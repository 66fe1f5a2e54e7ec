// A guard for CUDA in a PyTorch that has none: PyTorch asks it where a tensor that says cuda lives. There is one device
// with one stream, and nothing to switch. Built by pretended_cuda.py.
#include <c10/core/impl/DeviceGuardImplInterface.h>

namespace {

constexpr auto kPretended = c10::DeviceType::CUDA;

struct PretendedGuard final : c10::impl::NoOpDeviceGuardImpl<kPretended> {
  c10::Device device() const noexcept { return c10::Device(kPretended, 0); }
  c10::Stream stream() const noexcept { return c10::Stream(c10::Stream::DEFAULT, device()); }

  c10::Device exchangeDevice(c10::Device) const override { return device(); }
  c10::Device getDevice() const override { return device(); }
  c10::Stream getStream(c10::Device) const noexcept override { return stream(); }
  c10::Stream exchangeStream(c10::Stream) const noexcept override { return stream(); }
};

}  // namespace

namespace c10::impl {
C10_REGISTER_GUARD_IMPL(CUDA, PretendedGuard)
}
