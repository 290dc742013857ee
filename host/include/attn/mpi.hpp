// SPDX-License-Identifier: Apache-2.0
//
// ProcessGroup that are processes of an MPI job. This header alone uses MPI; the library is not linked with it.
//
//   MPI_Init_thread(&argc, &argv, MPI_THREAD_FUNNELED, &provided);
//   {
//     attn::MpiCommunicator ranks(MPI_COMM_WORLD);
//     y = layer->forward(x, {.communicator = &ranks});      // in every process
//   }
//   MPI_Finalize();
//
// Contract  As attn/communicator.hpp. Construction and destruction are collective over the given MPI_Comm, whose
//           duplicate carries the messages, so that they never meet the application's own. MPI must be initialised
//           before and finalised after. Bytes: all processes have the same byte order.
// Threads   MPI is called from the thread that makes the call, and from no other: MPI_THREAD_FUNNELED will do when
//           that is the one that initialised MPI, else MPI_THREAD_SERIALIZED.
// Waiting   Polls, and lets other processes run in between. How far messages move while the library computes is
//           MPI's business.
// Memory    A copy of what is being sent.
// Errors    An error of MPI throws Failure. fail() notifies the other processes. A process that dies is left to mpirun:
//           it ends the job.
#pragma once

// The C interface alone.
#ifndef OMPI_SKIP_MPICXX
#define OMPI_SKIP_MPICXX 1
#endif
#ifndef MPICH_SKIP_MPICXX
#define MPICH_SKIP_MPICXX 1
#endif
#include <mpi.h>

#include <algorithm>
#include <new>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <attn/communicator.hpp>
#include <attn/error.hpp>

namespace attn {

class MpiCommunicator final : public Communicator {
 public:
  explicit MpiCommunicator(MPI_Comm comm) : Communicator(rank_of(comm), size_of(comm)) {
    check(MPI_Comm_dup(comm, &comm_));
    check(MPI_Comm_set_errhandler(comm_, MPI_ERRORS_RETURN));
  }
  ~MpiCommunicator() override {
    int finalized = 0;
    MPI_Finalized(&finalized);
    drop();
    // A group that failed is not in step any more, and freeing is collective.
    if (finalized == 0 && failure_.empty()) MPI_Comm_free(&comm_);
  }

 protected:
  void start_send(int peer, int tag, std::span<const std::byte> data) override {
    check_usable();
    const std::byte* copy = kept(tag, data);
    pieces(data.size(), [&](size_t at, int n) {
      check(MPI_Isend(copy + at, n, MPI_BYTE, peer, tag, comm_, add(0)));
    });
  }
  void start_receive(int peer, int tag, std::span<std::byte> data) override {
    check_usable();
    pieces(data.size(), [&](size_t at, int n) {
      check(MPI_Irecv(data.data() + at, n, MPI_BYTE, peer, tag, comm_, add(n)));
    });
  }

  void wait_all() override {
    check_usable();
    try {
      poll();
    } catch (...) {
      drop();
      throw;
    }
  }

  void abort(const std::string& reason) noexcept override {
    drop();
    if (!failure_.empty()) return;
    std::string_view text = "a rank failed that has no memory left to tell why";
    try {
      failure_ =
          "rank " + std::to_string(rank()) + " of " + std::to_string(size()) + " failed: " + reason;
      text = *new std::string(failure_);  // never freed: the others may read it at any time
    } catch (const std::bad_alloc&) {
      if (failure_.empty()) failure_ = "no memory";  // short enough to need none
    }
    for (int peer = 0; peer < size(); ++peer) {
      if (peer == rank()) continue;
      MPI_Request request = MPI_REQUEST_NULL;
      if (MPI_Isend(text.data(), static_cast<int>(text.size()), MPI_BYTE, peer, kFailureTag, comm_,
                    &request) == MPI_SUCCESS)
        MPI_Request_free(&request);
    }
  }

 private:
  static constexpr int kFailureTag =
      32767;  // the largest that every MPI has; above those of transfers
  static constexpr size_t kPiece = size_t{1} << 30;

  static int rank_of(MPI_Comm comm) {
    int rank = 0;
    check(MPI_Comm_rank(comm, &rank));
    return rank;
  }
  static int size_of(MPI_Comm comm) {
    int size = 0;
    check(MPI_Comm_size(comm, &size));
    return size;
  }
  static void check(int code) {
    if (code == MPI_SUCCESS) return;
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    MPI_Error_string(code, text, &length);
    throw Failure(std::string("communicator: MPI: ") + text);
  }
  void check_usable() const {
    if (!failure_.empty()) throw Failure("communicator: " + failure_);
  }

  // Counts of MPI are ints: long messages go in pieces, which arrive in order.
  template <class F>
  static void pieces(size_t size, F&& f) {
    for (size_t at = 0; at < size; at += kPiece)
      f(at, static_cast<int>(std::min(kPiece, size - at)));
  }
  // A copy of what is sent: MPI cannot take back a message that is under way, and memory of a call that failed is
  // used again. One copy serves all who get the same.
  const std::byte* kept(int tag, std::span<const std::byte> data) {
    if (copies_ == 0 || tag != tag_ || data.data() != source_) {
      if (copies_ == copy_.size()) copy_.emplace_back();
      copy_[copies_++].assign(data.begin(), data.end());
      tag_ = tag, source_ = data.data();
    }
    return copy_[copies_ - 1].data();
  }

  MPI_Request* add(int receives) {
    expected_.push_back(receives);
    return &requests_.emplace_back(MPI_REQUEST_NULL);
  }

  void poll() {
    statuses_.resize(requests_.size());
    for (;;) {
      int done = 0;
      check(MPI_Testall(static_cast<int>(requests_.size()), requests_.data(), &done,
                        statuses_.data()));
      if (done != 0) break;
      int failed = 0;
      MPI_Status status;
      check(MPI_Iprobe(MPI_ANY_SOURCE, kFailureTag, comm_, &failed, &status));
      if (failed != 0) receive_failure(status);
      std::this_thread::yield();
    }
    for (size_t i = 0; i < requests_.size(); ++i) {
      if (expected_[i] == 0) continue;
      int n = 0;
      check(MPI_Get_count(&statuses_[i], MPI_BYTE, &n));
      if (n != expected_[i])
        throw Failure("communicator: rank " + std::to_string(statuses_[i].MPI_SOURCE) + " sent " +
                      std::to_string(n) + " bytes, expected " + std::to_string(expected_[i]));
    }
    requests_.clear();
    expected_.clear();
    copies_ = 0;
  }

  [[noreturn]] void receive_failure(const MPI_Status& status) {
    int n = 0;
    check(MPI_Get_count(&status, MPI_BYTE, &n));
    std::string text(static_cast<size_t>(n), ' ');
    check(MPI_Recv(text.data(), n, MPI_BYTE, status.MPI_SOURCE, kFailureTag, comm_,
                   MPI_STATUS_IGNORE));
    failure_ = text;
    check_usable();
    throw Failure("communicator: a rank failed");
  }

  // Receives are taken back, or completed when the message is on its way. Sends are left to MPI, and their copies
  // stay for ever: it is not known when they have been read.
  void drop() noexcept {
    bool sending = false;
    for (size_t i = 0; i < requests_.size(); ++i) {
      if (requests_[i] == MPI_REQUEST_NULL) continue;
      if (expected_[i] != 0) {
        MPI_Cancel(&requests_[i]);
        MPI_Wait(&requests_[i], MPI_STATUS_IGNORE);
      } else {
        MPI_Request_free(&requests_[i]);
        sending = true;
      }
    }
    if (sending) new std::vector<std::vector<std::byte>>(std::move(copy_));
    copy_.clear();
    copies_ = 0;
    requests_.clear();
    expected_.clear();
  }

  MPI_Comm comm_ = MPI_COMM_NULL;
  std::string failure_{};
  std::vector<MPI_Request> requests_{};
  std::vector<int> expected_{};  // bytes of a receive; 0: a send
  std::vector<MPI_Status> statuses_{};
  std::vector<std::vector<std::byte>> copy_{};  // the first copies_ of them are being sent
  size_t copies_ = 0;
  int tag_ = 0;  // of the last copy, and what it is of
  const std::byte* source_ = nullptr;
};

}  // namespace attn
