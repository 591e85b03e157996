#include <doctest/doctest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <stem/error.hpp>

#include "supervisor/drop_in.hpp"
#include "temp_dir.hpp"

using namespace stem;
namespace fs = std::filesystem;

namespace {

/// The lines below the comments.
std::string directives(const NodeOptions& options, Scope scope = Scope::system,
                       const std::string& node = "web-1") {
  const auto text = drop_in_text("/usr/bin/stem", node, options, scope);
  return text.substr(text.find("\n[Service]\n") + 1);
}

}  // namespace

TEST_CASE("drop-in: a word of a command is quoted so that systemd hands on exactly it") {
  CHECK(exec_word("plain") == R"("plain")");
  CHECK(exec_word("") == R"("")");
  CHECK(exec_word("two words") == R"("two words")");
  CHECK(exec_word("100% of $HOME") == R"("100%% of $$HOME")");
  CHECK(exec_word(R"(say "hi" \ bye)") == R"("say \"hi\" \\ bye")");
  CHECK(exec_word("line\nend\ttab\x7f") == R"("line\x0aend\x09tab\x7f")");
  CHECK(exec_word("it's ; & | é") == R"("it's ; & | é")");
}

TEST_CASE("drop-in: elsewhere a dollar sign means nothing and stays single") {
  CHECK(quoted_word("$HOME/100%") == R"("$HOME/100%%")");
}

TEST_CASE("drop-in: a bare value doubles specifiers and refuses what it cannot say") {
  CHECK(unit_value("/etc/50%.env") == "/etc/50%%.env");
  CHECK_THROWS_WITH_AS(unit_value("/etc/a\nExecStart=/bin/sh"), doctest::Contains("control character"),
                       Error);
}

TEST_CASE("drop-in: options become the arguments of ExecStart=") {
  NodeOptions options;
  options.apps = {"/opt/a b.so", "/opt/c.so"};
  options.queues = {"mail", "slow"};
  options.concurrency = 8;
  CHECK(directives(options) ==
        "[Service]\n"
        "ExecStart=\n"
        "ExecStart=/usr/bin/stem worker start --node %i --pidfile \"/run/stem/%i.pid\" \"--app\" \"/opt/a "
        "b.so\" \"--app\" "
        "\"/opt/c.so\" \"--queue\" \"mail\" \"--queue\" \"slow\" \"--concurrency\" \"8\"\n");
}

TEST_CASE("drop-in: a hostile command stays one argument of one line") {
  NodeOptions options;
  options.command = "x\" --node evil\n[Service]\nUser=root\nExecStartPre=/bin/sh -c '%n $PATH'";
  const auto text = directives(options);
  CHECK(text ==
        "[Service]\n"
        "ExecStart=\n"
        "ExecStart=/usr/bin/stem worker start --node %i --pidfile \"/run/stem/%i.pid\" \"--command\" "
        "\"x\\\" --node evil\\x0a[Service]\\x0aUser=root\\x0aExecStartPre=/bin/sh -c '%%n $$PATH'\"\n");
}

TEST_CASE("drop-in: the comment that remembers the options cannot be broken out of") {
  NodeOptions options;
  options.command = "a\n[Service]\nUser=root\xc2\x85 end";
  const auto text = drop_in_text("/usr/bin/stem", "web-1", options, Scope::system);
  const auto head = text.substr(0, text.find("\n[Service]\n"));
  for (std::size_t at = 0; at < head.size(); at = head.find('\n', at) + 1) {
    if (head[at] != '\n') CHECK(head[at] == '#');
    if (head.find('\n', at) == std::string::npos) break;
  }
  CHECK(drop_in_options(text) == options);
}

TEST_CASE("drop-in: an environment file is read by systemd and named to the worker for its check") {
  NodeOptions options;
  options.env_file = "/srv/my env/50%'.env";
  CHECK(directives(options) ==
        "[Service]\n"
        "EnvironmentFile=/srv/my env/50%%'.env\n"
        "Environment=\"STEM_ENV_FILE=/etc/stem/stem.env /etc/stem/%i.env '/srv/my env/50%%'\\\\''.env'\"\n"
        "ExecStart=\n"
        "ExecStart=/usr/bin/stem worker start --node %i --pidfile \"/run/stem/%i.pid\"\n");
}

TEST_CASE("drop-in: a pidfile of its own is told to systemd, and its directory opened") {
  NodeOptions options;
  options.pidfile = "/srv/run/%n.pid";
  CHECK(directives(options) ==
        "[Service]\n"
        "PIDFile=/srv/run/web-1.pid\n"
        "ReadWritePaths=\"-/srv/run\"\n"
        "ExecStart=\n"
        "ExecStart=/usr/bin/stem worker start --node %i --pidfile \"/srv/run/%%n.pid\"\n");
}

TEST_CASE("drop-in: /var/run, of which systemd warns, is written as /run, and needs no opening") {
  NodeOptions options;
  options.pidfile = "/var/run/stem/%n.pid";
  options.logfile = "/var/log/stem/%n%I.log";
  CHECK(directives(options) ==
        "[Service]\n"
        "PIDFile=/run/stem/web-1.pid\n"
        "ExecStart=\n"
        "ExecStart=/usr/bin/stem worker start --node %i --pidfile \"/var/run/stem/%%n.pid\" \"--logfile\" "
        "\"/var/log/stem/%%n%%I.log\"\n");
}

TEST_CASE("drop-in: a pidfile named after the time of the start cannot be told to systemd") {
  NodeOptions options;
  options.pidfile = "/srv/%d/%n.pid";
  const auto text = directives(options);
  CHECK(text.find("PIDFile=\n") != std::string::npos);
  CHECK(text.find("ReadWritePaths=\"-/srv\"\n") != std::string::npos);
}

TEST_CASE("drop-in: a person's manager has other paths, and nothing to open") {
  NodeOptions options;
  options.logfile = "/home/me/%n.log";
  CHECK(directives(options, Scope::user) ==
        "[Service]\n"
        "ExecStart=\n"
        "ExecStart=/usr/bin/stem worker start --node %i --pidfile \"%t/stem/%i.pid\" \"--logfile\" "
        "\"/home/me/%%n.log\"\n");
}

TEST_CASE("drop-in: written once, remembered, replaced option by option, and taken away") {
  TempDir directory;
  const DropIns drop_ins({directory / "run", directory / "etc"}, "/usr/bin/stem", Scope::system);
  const fs::path file = directory / "run/stem-worker@web-1.service.d/50-stem-multi.conf";

  NodeOptions options;
  options.queues = {"mail"};
  CHECK(drop_ins.nodes().empty());
  CHECK(drop_ins.set("web-1", options));
  CHECK(drop_ins.path("web-1") == file);
  CHECK_FALSE(drop_ins.set("web-1", options));
  CHECK(drop_ins.options("web-1") == options);
  CHECK(drop_ins.nodes() == std::vector<std::string>{"web-1"});
  struct stat status {};
  REQUIRE(stat(file.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0644);

  CHECK(drop_ins.set("web-1", {}));
  CHECK_FALSE(fs::exists(file.parent_path()));
  CHECK_FALSE(drop_ins.set("web-1", {}));
  CHECK(drop_ins.options("web-1").empty());
}

TEST_CASE("drop-in: what others put beside it stays") {
  TempDir directory;
  const DropIns drop_ins({directory / "run", directory / "etc"}, "/usr/bin/stem", Scope::system);
  NodeOptions options;
  options.concurrency = 2;
  drop_ins.set("a", options);
  const auto other = directory / "run/stem-worker@a.service.d/override.conf";
  std::ofstream(other) << "[Service]\n";
  CHECK(drop_ins.set("a", {}));
  CHECK(fs::exists(other));
}

TEST_CASE("drop-in: a file of somebody else, or one that was edited badly, remembers nothing") {
  CHECK(drop_in_options("") == std::nullopt);
  CHECK(drop_in_options("[Service]\nExecStart=\n") == std::nullopt);
  CHECK(drop_in_options("# stem-options: {\"v\":99,\"options\":{}}\n") == std::nullopt);
  CHECK(drop_in_options("# stem-options: {\"v\":1,\"options\":{\"queues\":7}}\n") == std::nullopt);
  CHECK(drop_in_options("# stem-options: {\"v\":1,\"opt") == std::nullopt);
}

TEST_CASE("drop-in: where it cannot be written the message says what to do") {
  TempDir directory;
  directory.file("file", "x");
  const DropIns drop_ins({directory / "file", directory / "etc"}, "/usr/bin/stem", Scope::system);
  NodeOptions options;
  options.concurrency = 2;
  CHECK_THROWS_WITH_AS(drop_ins.set("a", options), doctest::Contains("cannot write"), Error);
}

TEST_CASE("drop-in: limits are directives as they are, percent signs and all") {
  NodeOptions options;
  options.properties = {"MemoryHigh=50%", "CPUWeight=20"};
  CHECK(directives(options).starts_with("[Service]\nMemoryHigh=50%\nCPUWeight=20\nExecStart=\n"));
  CHECK(drop_in_options(drop_in_text("/usr/bin/stem", "a", options, Scope::system)) == options);
}

TEST_CASE(
    "drop-in: a node that is enabled has its options below /etc, another below /run, and none in both") {
  TempDir directory;
  const DropIns drop_ins({directory / "run", directory / "etc"}, "/usr/bin/stem", Scope::system);
  NodeOptions options;
  options.concurrency = 2;
  drop_ins.set("a", options);
  CHECK_FALSE(drop_ins.enabled("a"));
  CHECK(fs::exists(drop_ins.path("a")));

  fs::create_directories(directory / "etc/stem.target.wants");
  fs::create_symlink("/nowhere/stem-worker@.service",
                     directory / "etc/stem.target.wants/stem-worker@a.service");
  CHECK(drop_ins.enabled("a"));
  CHECK_FALSE(drop_ins.enabled("b"));
  CHECK(drop_ins.nodes() == std::vector<std::string>{"a"});
  CHECK(drop_ins.set("a", options));
  CHECK_FALSE(fs::exists(drop_ins.path("a")));
  CHECK(content_of(drop_ins.path("a", true)).find("Kept while the node is enabled") != std::string::npos);
  CHECK(drop_ins.options("a") == options);
  CHECK_FALSE(drop_ins.set("a", options));

  CHECK(drop_ins.set("a", options, false));
  CHECK_FALSE(fs::exists(drop_ins.path("a", true)));
  CHECK(content_of(drop_ins.path("a")).find("Lost at the next boot") != std::string::npos);
  CHECK(drop_ins.set("a", {}));
  CHECK(drop_ins.nodes() == std::vector<std::string>{"a"});
}
