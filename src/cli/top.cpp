#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <iostream>
#include <thread>

#include "cli/commands.hpp"
#include "cli/fleet_options.hpp"
#include "cli/fleet_watcher.hpp"
#include "cli/node_view.hpp"
#include "cli/terminal.hpp"
#include "cli/top_model.hpp"
#include "cli/top_view.hpp"
#include "core/descriptor.hpp"
#include "core/name.hpp"
#include "core/redaction.hpp"
#include "storage/open.hpp"

namespace stem::cli {
namespace {

constexpr Duration shortest_interval = std::chrono::milliseconds{250};
constexpr Duration longest_interval = std::chrono::hours{1};
/// How long the answer to a key stands.
constexpr Duration said_for = std::chrono::seconds{5};
/// How long a call to a broker that does not answer may hold up the end.
constexpr Duration patience = std::chrono::milliseconds{300};

struct Options : FleetOptions {
  Duration interval = std::chrono::seconds{1};
  int count = 0;  // 0 = until it is ended
  bool once = false, plain = false;
};

/// A block each interval, without a terminal.
int show_blocks(const std::shared_ptr<Fleet>& fleet, const Options& options, const Common& common) {
  WatchedFleet look(fleet, options.workers, options.interval);
  TopModel model;
  model.take(look.take());
  if (!look.unasked().empty())
    std::cerr << "workers are not asked: " << look.unasked() << "; figures are as old as heartbeats\n";
  std::string trouble;
  const int count = options.once ? 1 : options.count;
  for (int shown = 0; count == 0 || shown < count;) {
    std::this_thread::sleep_for(options.interval);
    try {
      model.take(look.take());
      if (!trouble.empty()) std::cerr << "the broker answers again\n";
      trouble.clear();
    } catch (const Error& error) {
      if (error.code() != Exit::unavailable && error.code() != Exit::try_again) throw;
      if (options.once || options.count > 0) throw;
      if (trouble.empty()) std::cerr << "the broker is lost: " << error.what() << "; trying again\n";
      trouble = error.what();
      continue;
    }
    if (common.json)
      std::cout << to_json(model.figures()).dump(-1, ' ', false, Json::error_handler_t::replace) << '\n';
    else
      std::cout << (shown > 0 ? "\n" : "") << model.text();
    std::cout.flush();
    if (!std::cout) return 0;  // nobody reads any more; the program says so if it matters
    ++shown;
  }
  return 0;
}

/// Signals as something to poll. From its birth until its end they do not interrupt.
class Signals {
 public:
  Signals() {
    sigemptyset(&set_);
    for (const int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGTSTP, SIGCONT, SIGWINCH})
      sigaddset(&set_, number);
    pthread_sigmask(SIG_BLOCK, &set_, &before_);
    fd_ = Descriptor(signalfd(-1, &set_, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!fd_) throw Error(Exit::software, "cannot wait for signals");
  }
  ~Signals() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  int fd() const { return fd_.get(); }
  /// The next one that came; 0 = none.
  int take() const {
    signalfd_siginfo one{};
    return read(fd_.get(), &one, sizeof one) == sizeof one ? static_cast<int>(one.ssi_signo) : 0;
  }

 private:
  sigset_t set_{}, before_{};
  Descriptor fd_;
};

/// The live screen: what came of keys, signals and news, until somebody ends it.
class LiveScreen {
 public:
  LiveScreen(Terminal& terminal, FleetWatcher& watcher, const Signals& signals, Duration interval,
             std::string title, const FleetSample& first)
      : terminal_(terminal),
        watcher_(watcher),
        signals_(signals),
        interval_(interval),
        view_(terminal.ascii()) {
    notice_.title = std::move(title);
    take(first);
  }

  /// Returns the signal that ended it, or 0.
  int run() {
    while (!ended_) {
      draw();
      pollfd fds[] = {
          {signals_.fd(), POLLIN, 0}, {watcher_.fd(), POLLIN, 0}, {terminal_.keys_fd(), POLLIN, 0}};
      // Ages on the screen grow, whatever comes.
      poll(fds, 3, 1000);
      if (fds[0].revents) heed();
      if (fds[1].revents) hear();
      if (fds[2].revents & (POLLHUP | POLLERR | POLLNVAL)) lose_terminal();
      if (fds[2].revents & POLLIN) read_keys();
    }
    return signal_;
  }

 private:
  void take(const FleetSample& sample) {
    model_.take(sample);
    fresh_ = Clock::system().steady();
    fault_.clear();
  }

  void say(const std::string& text) {
    notice_.said = text;
    said_at_ = Clock::system().steady();
  }

  void draw() {
    const auto now = Clock::system().steady();
    if (now - said_at_ > said_for) notice_.said.clear();
    const auto age = duration_cast<Duration>(now - fresh_);
    notice_.lost.clear();
    if (!fault_.empty() || age > interval_ + std::chrono::seconds{5})
      notice_.lost = "figures are " + format_duration(std::chrono::floor<std::chrono::seconds>(age)) +
                     " old: " + (fault_.empty() ? "the broker does not answer" : fault_);
    notice_.time = format_time(Clock::system().wall()).substr(11, 8) + "Z";
    if (!unasked_.empty()) notice_.time = "(as of heartbeats)  " + notice_.time;
    const auto size = terminal_.size();
    terminal_.show(view_.draw(model_, notice_, size.rows, size.columns));
  }

  void heed() {
    while (const int number = signals_.take()) {
      if (number == SIGWINCH) {
        terminal_.resize();
      } else if (number == SIGCONT) {
        terminal_.take_back();
      } else if (number == SIGTSTP) {
        terminal_.suspend();
      } else {
        ended_ = true;
        signal_ = number;
      }
    }
  }

  void hear() {
    auto news = watcher_.take_news();
    if (news.sample) take(*news.sample);
    if (news.sample) unasked_ = news.unasked;
    if (!news.fault.empty()) fault_ = news.fault;
    if (!news.said.empty()) say(news.said);
  }

  void lose_terminal() {
    ended_ = true;
    signal_ = SIGHUP;
  }

  /// There may be none: what a shell has set meanwhile decides what counts as readable.
  void read_keys() {
    for (auto press = terminal_.read_key(); press.key != Key::none; press = terminal_.read_key()) obey(press);
  }

  void obey(const KeyPress& press) {
    auto& section = model_.section(model_.focus());
    constexpr std::ptrdiff_t all = 1'000'000'000;
    switch (press.key) {
      case Key::up:
        return section.select(-1);
      case Key::down:
        return section.select(1);
      case Key::page_up:
        return section.select(-view_.page());
      case Key::page_down:
        return section.select(view_.page());
      case Key::home:
        return section.select(-all);
      case Key::end:
        return section.select(all);
      case Key::tab:
        return model_.move_focus(1);
      case Key::back_tab:
        return model_.move_focus(-1);
      default:
        break;
    }
    switch (press.character) {
      case 'k':
        return section.select(-1);
      case 'j':
        return section.select(1);
      case 's':
        section.sort_by_next();
        return say("sorted by " + section.columns()[section.sorted_by()].title);
      case 'S':
        return section.reverse();
      case 'p':
      case 'r':
        return order(press.character == 'r');
      case 'h':
      case '?':
        notice_.help = !notice_.help;
        return;
      case 'q':
        ended_ = true;
        return;
      default:
        return;
    }
  }

  void order(bool resume) {
    const auto queue = model_.section(TopModel::queues).selected_key();
    if (model_.focus() != TopModel::queues || queue.empty())
      return say("select a queue first: Tab goes to the queues");
    if (!is_name(queue)) return say("this queue's name is none that can be ordered about");
    say((resume ? "resuming " : "pausing ") + queue);
    watcher_.give(
        {.queues = {queue}, .nodes = {}, .reason = {}, .requester = this_person(), .resume = resume});
  }

  Terminal& terminal_;
  FleetWatcher& watcher_;
  const Signals& signals_;
  const Duration interval_;  ///< between two samples
  TopView view_;
  TopModel model_;
  TopNotice notice_;
  std::string fault_, unasked_;
  SteadyTime fresh_{}, said_at_{};
  bool ended_ = false;
  int signal_ = 0;
};

/// What the first look has found; nothing, if a signal came before, which is `ended_by` then. What is wrong
/// from the start is a message and an exit status, not a screen.
std::optional<FleetSample> first_look(FleetWatcher& watcher, const Signals& signals, int& ended_by) {
  while (true) {
    pollfd fds[] = {{signals.fd(), POLLIN, 0}, {watcher.fd(), POLLIN, 0}};
    poll(fds, 2, -1);
    while (const int number = signals.take())
      if (number == SIGTSTP)
        stop_as_asked();
      else if (number != SIGWINCH && number != SIGCONT)
        return ended_by = number, std::nullopt;
    auto news = watcher.take_news();
    if (!news.fault.empty()) throw Error(news.code, news.fault);
    if (news.sample) return news.sample;
  }
}

std::string title_of(const Config& config, const Common& common) {
  const auto url = config.broker_url.empty() ? default_url(load_environment(common)) : config.broker_url;
  return "stem top  " + config.name_space + "  " + redacted_url(url);
}

int top(const Options& options, const Common& common) {
  if (options.interval < shortest_interval || options.interval > longest_interval)
    throw Error(Exit::usage, "--interval is from 250ms to 1h");
  if (options.once && options.count > 0) throw Error(Exit::usage, "--once is --count 1; say one of them");
  const auto config = fleet_config(options, common);
  const bool live =
      !options.plain && !options.once && options.count == 0 && !common.json && isatty(STDOUT_FILENO);
  if (!live) return show_blocks(std::make_shared<Fleet>(open_fleet(config)), options, common);

  int signal = 0;
  bool all_ended = true;
  {
    const Signals signals;  // before any thread is begun
    FleetWatcher watcher(std::make_shared<Fleet>(open_fleet(config)), options.workers, options.interval);
    if (const auto first = first_look(watcher, signals, signal)) {
      std::string why;
      if (const auto terminal = Terminal::open(!common.no_color && std::getenv("NO_COLOR") == nullptr, why)) {
        signal =
            LiveScreen(*terminal, watcher, signals, options.interval, title_of(config, common), *first).run();
      } else {
        std::cerr << "stem top: " << plain(why) << "; plain lines it is\n";
        signal = -1;
      }
    }
    all_ended = watcher.stop(patience);
  }
  if (signal == -1) return show_blocks(std::make_shared<Fleet>(open_fleet(config)), options, common);
  if (signal != 0 && signal != SIGINT) {
    std::signal(signal, SIG_DFL);
    raise(signal);
  }
  // A thread that waits for the broker must not keep us; it holds nothing that would have to be closed.
  if (!all_ended) _exit(0);
  return 0;
}

}  // namespace

Work define_top(CLI::App& app, Common& common) {
  auto options = std::make_shared<Options>();
  add_fleet(app, *options);
  add_duration(app, "-d,--interval", options->interval, "time from one look to the next (1s)");
  app.add_option("--count", options->count, "plain lines: so many blocks, then end")
      ->type_name("N")
      ->check(between(1, 1'000'000'000))
      ->default_str("");
  app.add_flag("--once", options->once, "plain lines: one block, then end");
  app.add_flag("--plain", options->plain, "plain lines, also on a terminal");
  return [options, &common] { return top(*options, common); };
}

}  // namespace stem::cli
