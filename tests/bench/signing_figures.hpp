#pragma once

#include <chrono>
#include <stem/signing.hpp>

#include "core/base64.hpp"
#include "core/signing_text.hpp"
#include "figure.hpp"

template <class Step>
double microseconds_each(Step step) {
  constexpr int rounds = 2000;
  std::vector<double> values;
  for (int sample = 0; sample < 5; ++sample) {
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < rounds; ++i) step();
    values.push_back(
        std::chrono::duration<double, std::micro>(std::chrono::steady_clock::now() - begin).count() / rounds);
  }
  return median(values);
}

/// What a signature costs: one job, on one thread.
inline void print_signing_figures() {
  using namespace stem;
  Envelope job;
  job.id = "0190f7c2-9f00-7000-8000-000000000001";
  job.name = "email.send";
  job.args = {{"to", "a@b.c"}, {"subject", "your invoice"}, {"n", 1}};
  job.enqueued_at = Clock::system().wall();
  job.meta = {{"stem.task", job.name}};
  const auto wire = to_wire(job);
  const auto parse = microseconds_each([&] { (void)envelope_from_wire(wire); });
  print_figure("signing: for scale: an envelope is parsed", parse, "µs");
  print_figure("signing: its canonical text", microseconds_each([&] { (void)signing_text(job); }), "µs");

  SigningConfig hmac, pair;
  hmac.keys = {{"v1", "thirty-two bytes of a real secret"}};
  hmac.active_key = "v1";
  pair.algorithm = "ed25519";
  pair.public_keys = {{"v1", *from_base64("A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg=")}};
  pair.private_keys = {{"v1", *from_base64("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")}};
  pair.active_key = "v1";
  for (const auto* config : {&hmac, &pair}) {
    const auto signer = *PayloadSigner::maybe(*config);
    auto signed_job = job;
    const auto sign = microseconds_each([&] { signer.sign(signed_job); });
    bool right = true;
    const auto verify = microseconds_each([&] { right = right && !signer.verify(signed_job); });
    print_figure("signing: " + config->algorithm + ": sign", sign, "µs");
    print_figure("signing: " + config->algorithm + ": verify", verify, "µs");
    print_figure("signing: " + config->algorithm + ": a job, both", sign + verify, "µs");
    if (!right) throw std::runtime_error("a signature is not verified");
  }
}
