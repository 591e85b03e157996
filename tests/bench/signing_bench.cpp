// What a signature costs: one job, on one thread.

#include "signing_figures.hpp"

int main() {
  print_signing_figures();
}
