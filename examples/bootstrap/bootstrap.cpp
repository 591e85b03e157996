// Configuration, signatures, producer and worker, put together once. `bootstrap worker` runs a worker;
// `bootstrap FILE TEXT...` has workers append a line for each TEXT to FILE, and waits. Where jobs are kept,
// who is trusted and how jobs are signed is said by the environment: STEM_BROKER_URL, STEM_TLS_*,
// STEM_SIGNING_*.
#include <fstream>
#include <iostream>
#include <stem/stem.hpp>
#include <stem/worker.hpp>

using namespace std::literals;

void write_note(stem::TaskContext& job) {
  std::ofstream file(job.args().at("file").get<std::string>(), std::ios::app);
  file << job.args().at("text").get<std::string>() + "\n"
       << std::flush;  // in one piece: others write there, too
  if (!file) throw std::runtime_error("cannot write the note");
}

int main(int argc, char** argv) try {
  const auto config = stem::Config::from_environment();
  const auto signer = stem::PayloadSigner::maybe(config.signing);

  if (argc == 2 && argv[1] == "worker"sv) {
    stem::Registry tasks;
    tasks.add("note.write", write_note);
    return stem::run_worker(config, tasks, signer);
  }

  stem::Stem stem{config, signer};
  std::vector<stem::Job> jobs;
  for (int i = 2; i < argc; ++i) jobs.push_back({"note.write", {{"file", argv[1]}, {"text", argv[i]}}});
  int status = 0;
  for (const auto& id : stem.enqueue(jobs)) {
    const auto result = stem.wait(id, 1min);
    const bool written = result && result->state == stem::TaskState::succeeded;
    std::cout << id << (written ? " is written\n" : " is not\n");
    if (!written) status = 1;
  }
  return status;
} catch (const stem::Error& error) {
  return std::cerr << "bootstrap: " << error.what() << '\n', static_cast<int>(error.code());
}
