#include <doctest/doctest.h>

#include <stem/error.hpp>

#include "supervisor/unit_property.hpp"

using namespace stem;

namespace {

void refused(const char* assignment, const char* words) {
  CAPTURE(assignment);
  CHECK_THROWS_WITH_AS(check_unit_property(assignment), doctest::Contains(words), Error);
}

}  // namespace

TEST_CASE("unit property: limits pass in the forms that systemd reads") {
  for (const char* fine : {"MemoryMax=512M",
                           "MemoryMax=infinity",
                           "MemoryHigh=50%",
                           "MemoryMin=0",
                           "CPUWeight=idle",
                           "CPUWeight=10000",
                           "CPUQuota=150%",
                           "CPUQuota=12.5%",
                           "TasksMax=100",
                           "TasksMax=10%",
                           "AllowedCPUs=0-3,8",
                           "AllowedCPUs=0 2",
                           "IOWeight=1",
                           "IOReadBandwidthMax=/dev/sda 5M",
                           "IODeviceWeight=/dev/sda 200",
                           "IPAddressDeny=any",
                           "IPAddressAllow=127.0.0.0/8 ::1/128 localhost",
                           "Nice=-5",
                           "OOMScoreAdjust=-1000",
                           "LimitNOFILE=1024:65536",
                           "LimitCORE=infinity",
                           "LimitAS=2G",
                           "TimeoutStopSec=1min 30s",
                           "WatchdogSec=0",
                           "RestartSec=250ms",
                           "MemoryAccounting=yes",
                           "OOMPolicy=continue",
                           "ManagedOOMPreference=avoid",
                           "CPUAffinity=1",
                           "IOSchedulingClass=idle",
                           "MemoryMax="})
    CHECK_NOTHROW(check_unit_property(fine));
}

TEST_CASE("unit property: a value that systemd would ignore is refused with the form that it takes") {
  refused("MemoryMax=lots", "512M");
  refused("MemoryMax=101%", "512M");
  refused("MemoryMax=-1", "512M");
  refused("CPUWeight=0", "1 to 10000");
  refused("CPUQuota=50", "percentage");
  refused("CPUQuota=0%", "percentage");
  refused("TasksMax=0", "infinity");
  refused("AllowedCPUs=3-1", "ranges");
  refused("IOReadBandwidthMax=5M", "/dev/sda");
  refused("IPAddressDeny=10.0.0.0/33", "networks");
  refused("IPAddressDeny=localhost,any", "networks");
  refused("Nice=20", "-20 to 19");
  refused("LimitNOFILE=many", "SOFT:HARD");
  refused("TimeoutStopSec=soon", "length of time");
  refused("TimeoutStopSec=5 parsecs", "length of time");
  refused("MemoryAccounting=maybe", "yes or no");
  refused("MemoryMax=1M\nExecStart=/bin/sh", "512M");
}

TEST_CASE("unit property: what is no limit is refused with the reason") {
  refused("ExecStart=/bin/sh", "life depends on it");
  refused("Type=simple", "life depends on it");
  refused("Environment=PASSWORD=x", "every local user can read it");
  refused("User=root", "whom the worker runs as");
  refused("ProtectSystem=no", "sandbox");
  refused("NoNewPrivileges=no", "sandbox");
  refused("ReadWritePaths=/", "sandbox");
  refused("MemoryMux=1G", "did you mean MemoryMax?");
  refused("Zebra=1", "none of the limits");
  refused("memorymax=1G", "MemoryMax");
  refused("MemoryMax", "KEY=VALUE");
  refused("=1", "none of the limits");
}

TEST_CASE("unit property: a key that is said anew replaces all its values, an empty one forgets it") {
  using List = std::vector<std::string>;
  const List older{"MemoryMax=1G", "IPAddressAllow=localhost", "IPAddressAllow=10.0.0.0/8", "Nice=5"};
  CHECK(merged_properties(older, {}) == older);
  CHECK(merged_properties(older, {"MemoryMax=2G"}) ==
        List{"IPAddressAllow=localhost", "IPAddressAllow=10.0.0.0/8", "Nice=5", "MemoryMax=2G"});
  CHECK(merged_properties(older, {"IPAddressAllow=any"}) ==
        List{"MemoryMax=1G", "Nice=5", "IPAddressAllow=any"});
  CHECK(merged_properties(older, {"IPAddressAllow=", "Nice="}) == List{"MemoryMax=1G"});
  CHECK(merged_properties({}, {"IPAddressDeny=any", "IPAddressDeny=multicast"}) ==
        List{"IPAddressDeny=any", "IPAddressDeny=multicast"});
}
