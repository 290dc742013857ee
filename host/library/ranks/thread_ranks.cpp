// SPDX-License-Identifier: Apache-2.0
//
// ProcessGroup that are threads: a sender posts where its message lies, the receiver copies it from there. No buffer in
// between, and both sleep while they wait.
#include <attn/communicator.hpp>
#include <attn/error.hpp>

#include <algorithm>
#include <cstring>
#include <list>
#include <mutex>
#include <new>

#include "core/threads/fork.hpp"

namespace attn {
namespace {

struct Message {
  int from, to, tag;
  std::span<const std::byte> data;
  bool copying = false, taken = false;
};

// What the ranks of one group have in common.
struct Channel {
  explicit Channel(int size) : gone(static_cast<size_t>(size), false) {}
  threads::Mutex mutex{};
  threads::Condition changed{};
  const uint32_t generation = threads::fork_generation();  // of the process that the ranks are in
  std::list<Message> posted{};
  std::vector<bool> gone;  // destroyed ranks
  std::string failure{};   // why the group is used up; "": it is not
};

class ThreadCommunicator final : public Communicator {
 public:
  ThreadCommunicator(int rank, int size, std::shared_ptr<Channel> channel)
      : Communicator(rank, size), channel_(std::move(channel)) {}
  ~ThreadCommunicator() override {
    std::unique_lock lock(channel_->mutex);
    withdraw(lock);
    channel_->gone[static_cast<size_t>(rank())] = true;
    channel_->changed.notify_all();
  }

 protected:
  void start_send(int peer, int tag, std::span<const std::byte> data) override {
    const std::lock_guard lock(channel_->mutex);
    sent_.reserve(sent_.size() + 1);  // what is posted is taken back
    channel_->posted.push_back({rank(), peer, tag, data});
    sent_.push_back(std::prev(channel_->posted.end()));
    channel_->changed.notify_all();
  }
  void start_receive(int peer, int tag, std::span<std::byte> data) override {
    received_.push_back({peer, tag, data});
  }
  void wait_all() override {
    std::unique_lock lock(channel_->mutex);
    try {
      for (const Expected& e : received_) receive(e, lock);
      received_.clear();
      while (!sent_.empty()) {
        const Posted message = sent_.back();
        wait_for(message->to, lock, [&] { return message->taken; });
        channel_->posted.erase(message);
        sent_.pop_back();
      }
    } catch (...) {
      withdraw(lock);
      throw;
    }
  }
  void abort(const std::string& reason) noexcept override {
    std::unique_lock lock(channel_->mutex);
    if (channel_->failure.empty()) {
      try {
        channel_->failure = "rank " + std::to_string(rank()) + " of " + std::to_string(size()) +
                            " failed: " + reason;
      } catch (const std::bad_alloc&) {
        channel_->failure = "a rank";  // short enough to need no memory
      }
    }
    channel_->changed.notify_all();
    withdraw(lock);
  }

 private:
  // In a child of fork(), which has the group but not its threads.
  [[nodiscard]] bool left_behind() const {
    return channel_->generation != threads::fork_generation();
  }

  struct Expected {
    int peer, tag;
    std::span<std::byte> data;
  };
  using Posted = std::list<Message>::iterator;

  // Sleeps until done(); throws when the group is used up or the peer will never come.
  template <class Done>
  void wait_for(int peer, std::unique_lock<threads::Mutex>& lock, Done&& done) {
    Channel& c = *channel_;
    bool ready = false;
    c.changed.wait(lock, [&] {
      ready = c.failure.empty() && done();
      return ready || !c.failure.empty() || c.gone[static_cast<size_t>(peer)] || left_behind();
    });
    if (ready) return;
    throw Failure("communicator: " + (c.failure.empty() ? "rank " + std::to_string(peer) + " of " +
                                                              std::to_string(size()) + " is gone" +
                                                              (left_behind() ? " since fork()" : "")
                                                        : c.failure));
  }

  void receive(const Expected& e, std::unique_lock<threads::Mutex>& lock) {
    Channel& c = *channel_;
    auto message = c.posted.end();
    wait_for(e.peer, lock, [&] {
      message = std::find_if(c.posted.begin(), c.posted.end(), [&](const Message& m) {
        return m.from == e.peer && m.to == rank() && m.tag == e.tag && !m.copying && !m.taken;
      });
      return message != c.posted.end();
    });
    if (message->data.size() != e.data.size())
      throw Failure("communicator: rank " + std::to_string(e.peer) + " sent " +
                    std::to_string(message->data.size()) + " bytes, expected " +
                    std::to_string(e.data.size()));
    message->copying = true;
    lock.unlock();
    std::memcpy(e.data.data(), message->data.data(), e.data.size());
    lock.lock();
    message->copying = false;
    message->taken = true;
    c.changed.notify_all();
  }

  // Takes back what was posted, when it is no longer read.
  void withdraw(std::unique_lock<threads::Mutex>& lock) noexcept {
    received_.clear();
    for (const Posted message : sent_) {
      channel_->changed.wait(lock, [&] { return !message->copying || left_behind(); });
      channel_->posted.erase(message);
    }
    sent_.clear();
  }

  std::shared_ptr<Channel> channel_;
  std::vector<Expected> received_{};
  std::vector<Posted> sent_{};
};

}  // namespace

std::vector<std::unique_ptr<Communicator>> make_thread_communicators(int size) {
  if (size < 1)
    throw InvalidArgument(
        "communicator: " + std::to_string(size) +
        " ranks; expected the number of threads that share a sequence, at least 1");
  const auto channel = std::make_shared<Channel>(size);
  std::vector<std::unique_ptr<Communicator>> ranks;
  for (int rank = 0; rank < size; ++rank)
    ranks.push_back(std::make_unique<ThreadCommunicator>(rank, size, channel));
  return ranks;
}

}  // namespace attn
