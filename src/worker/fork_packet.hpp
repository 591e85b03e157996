#pragma once

#include <sys/socket.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <vector>

#include "core/descriptor.hpp"

namespace stem {

/// What a ForkServer and its process say to each other, a packet each. Both are of one program.
struct ForkRequest {
  std::uint32_t number;
  std::int32_t index;
  std::uint32_t descriptors;  ///< that come along; the kernel leaves out those for which there is no room
  char log_level[24];
};
struct ForkReply {
  std::uint32_t number;
  std::int32_t pid;
  std::int32_t error;
};

/// A packet with descriptors. False: nobody is there.
template <class Body>
bool send_packet(int socket, const Body& body, const std::vector<int>& descriptors) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 3)] = {};
  iovec part{const_cast<Body*>(&body), sizeof body};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    const auto bytes = sizeof(int) * descriptors.size();
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(bytes);
    auto* head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(bytes);
    std::memcpy(CMSG_DATA(head), descriptors.data(), bytes);
  }
  while (sendmsg(socket, &message, MSG_NOSIGNAL) < 0)
    if (errno != EINTR) return false;
  return true;
}

/// False: nobody is there, or what came is no such packet.
template <class Body>
bool receive_packet(int socket, Body& body, std::vector<Descriptor>& descriptors) {
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 3)];
  iovec part{&body, sizeof body};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t length;
  while ((length = recvmsg(socket, &message, MSG_CMSG_CLOEXEC)) < 0 && errno == EINTR) {
  }
  if (length < 0) return false;
  for (auto* head = CMSG_FIRSTHDR(&message); head; head = CMSG_NXTHDR(&message, head)) {
    if (head->cmsg_level != SOL_SOCKET || head->cmsg_type != SCM_RIGHTS) continue;
    const auto count = (head->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(head) + i * sizeof fd, sizeof fd);
      descriptors.emplace_back(fd);
    }
  }
  return length == sizeof body;
}

}  // namespace stem
