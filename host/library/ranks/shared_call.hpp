// SPDX-License-Identifier: Apache-2.0
//
// What the ranks of a call agree on before they run it, and what the engine is given of it.
//
// Every step that exchanges handshakes runs on all ranks, whatever one of them has found wrong: so the fault reaches
// all, all throw, and no rank waits for a message that never comes. One thread at a time, as the context it belongs to.
#pragma once

#include <attn/sdk/abi.h>
#include <attn/communicator.hpp>
#include <attn/error.hpp>

#include <exception>
#include <string>
#include <vector>

#include "core/engine/limits.hpp"

namespace attn::host {

// A rank by itself, for calls whose bits must equal those of several ranks.
class SelfCommunicator final : public Communicator {
 public:
  SelfCommunicator() : Communicator(0, 1) {}

 protected:
  void start_send(int, int, std::span<const std::byte>) override {}
  void start_receive(int, int, std::span<std::byte>) override {}
  void wait_all() override {}
  void abort(const std::string&) noexcept override {}
};

// Of errors that all ranks throw alike: none of them waits, and the communicators stay usable.
struct Told {};
struct ToldRefusal final : InvalidArgument, Told {
  using InvalidArgument::InvalidArgument;
};
struct ToldFailure final : Failure, Told {
  using Failure::Failure;
};

// Ends the work of all with this reason, also without memory.
void abort(Communicator& ranks, const char* reason) noexcept;

// A rank's part in a call. Whatever ends it early without a handshake ends the call of the others, which may
// be waiting for this rank at any point. ranks: nullptr where there are no others.
template <class Part>
auto take_part(Communicator* ranks, Part&& part) {
  try {
    return part();
  } catch (const Told&) {
    throw;
  } catch (const std::exception& e) {
    if (ranks) abort(*ranks, e.what());
    throw;
  } catch (...) {
    if (ranks) abort(*ranks, "an exception of an unknown type");
    throw;
  }
}

// What one rank sends to the others. Everything but `tokens`, `seed`, `mask_signs` and the error must be the same for
// all.
struct Handshake {
  int32_t code = ATTN_OK;  // attn_code of what this rank found wrong
  uint32_t flags = 0;      // of the caller: training and so on
  uint64_t layer = 0;      // hash of type, config and dtype
  uint64_t arguments = 0;  // hash of the call's
  uint64_t observed = 0;   // hash of what is asked for
  uint64_t seed = 0;
  int32_t has_seed = 0;
  uint32_t mask_signs = 0;  // of this rank's part of keep masks, as Layer::mask_signs() has them
  int64_t tokens = 0;
  int64_t batch = 0;
  int32_t ranks[engine::kMaxPorts] = {};  // of the inputs, -1: not given
  char message[480] = {};

  // Runs a check; what it throws becomes the error of this rank.
  template <class F>
  void attempt(F&& check) {
    if (code != ATTN_OK) return;
    try {
      check();
    } catch (const InvalidArgument& e) {
      refuse(ATTN_INVALID_ARGUMENT, e.what());
    } catch (const std::exception& e) {
      refuse(ATTN_INTERNAL, e.what());
    }
  }

 private:
  void refuse(int32_t why, const char* text);
};

class SharedCall {
 public:
  SharedCall();
  SharedCall(const SharedCall&) = delete;
  SharedCall& operator=(const SharedCall&) = delete;

  // The next call is not shared.
  void end() { communicator_ = nullptr; }
  // nullptr: one rank, or none but this call.
  [[nodiscard]] Communicator* communicator() const { return communicator_; }

  // First step: sizes and what must be the same. `who`: of messages. From then on part() is known.
  // communicator nullptr: this rank alone. Returns the seed of all.
  uint64_t begin(Communicator* communicator, bool ordered, const Handshake& own,
                 const std::string& who);
  // Further checks that need nothing compared but the error and the flags. Returns the signs of the whole masks.
  uint32_t agree(const Handshake& own, const std::string& who);

  // For the engine; nullptr when the call is not shared.
  [[nodiscard]] const attn_communicator* table() const { return communicator_ ? &table_ : nullptr; }
  [[nodiscard]] const attn_shard* part() const { return communicator_ ? &part_ : nullptr; }

 private:
  std::vector<Handshake> gather(const Handshake& own, const std::string& who);

  SelfCommunicator alone_;
  Communicator* communicator_ = nullptr;
  attn_communicator table_{};
  attn_shard part_{};
  std::vector<int64_t> bounds_{};
};

}  // namespace attn::host
