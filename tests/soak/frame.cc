#include "tests/soak/frame.h"

#include <dirent.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace forbear::soak {
namespace {

int CountIn(const char* folder) {
  int count = 0;
  DIR* const dir = opendir(folder);
  if (dir == nullptr) return -1;
  while (const dirent* const entry = readdir(dir)) {
    if (entry->d_name[0] != '.') ++count;
  }
  closedir(dir);
  return count - (absl::string_view(folder) == "/proc/self/fd" ? 1 : 0);
}

double ResidentMb() {
  std::ifstream file("/proc/self/statm");
  double all = 0;
  double resident = 0;
  file >> all >> resident;
  return resident * static_cast<double>(sysconf(_SC_PAGESIZE)) / (1 << 20);
}

// Of a TCP socket: who left it behind can be told by its ports.
std::string EndsOf(int descriptor) {
  std::string ends;
  for (const auto get : {&getsockname, &getpeername}) {
    sockaddr_storage address = {};
    socklen_t size = sizeof(address);
    if (get(descriptor, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
      continue;
    }
    // The port is in the same place in both families.
    if (address.ss_family != AF_INET && address.ss_family != AF_INET6) continue;
    sockaddr_in in = {};
    std::memcpy(&in, &address, sizeof(in));
    absl::StrAppend(&ends, get == &getsockname ? " port " : " to port ",
                    ntohs(in.sin_port));
  }
  return ends;
}

unsigned long Long(uint64_t n) { return static_cast<unsigned long>(n); }

}  // namespace

std::optional<Flags> ParseFlags(const std::string& name,
                                const std::vector<std::string>& plants,
                                int argc, char** argv) {
  Flags flags;
  flags.seed = static_cast<uint64_t>(
      std::chrono::steady_clock::now().time_since_epoch().count() % 1000000);
  bool good = true;
  for (int i = 1; i < argc; ++i) {
    std::string flag = argv[i];
    std::string value;
    const size_t equals = flag.find('=');
    if (equals != std::string::npos) {
      value = flag.substr(equals + 1);
      flag.resize(equals);
    } else if (i + 1 < argc) {
      value = argv[++i];
    }
    if (flag == "--minutes") {
      good = good && absl::SimpleAtod(value, &flags.minutes) &&
             flags.minutes > 0 && flags.minutes <= 24 * 60;
    } else if (flag == "--seed") {
      good = good && absl::SimpleAtoi(value, &flags.seed);
    } else if (flag == "--plant") {
      good = good &&
             std::find(plants.begin(), plants.end(), value) != plants.end();
      flags.plant = value;
    } else {
      good = false;
    }
  }
  if (good) return flags;
  fprintf(stderr, "%s_soak [--minutes 20] [--seed N] [--plant %s]\n",
          name.c_str(), absl::StrJoin(plants, "|").c_str());
  return std::nullopt;
}

uint64_t MostCalls(const Flags& flags, int per_second) {
  return static_cast<uint64_t>(flags.minutes * 60 + 10) * per_second;
}

Frame::Frame(std::string name, Flags flags, Ledger* ledger,
             std::vector<std::string> pools)
    : name_(std::move(name)),
      flags_(std::move(flags)),
      total_(std::chrono::duration_cast<Clock::duration>(
          std::chrono::duration<double>(flags_.minutes * 60))),
      ledger_(ledger),
      pools_(std::move(pools)),
      descriptors_(CountIn("/proc/self/fd")),
      threads_(CountThreads()) {
  printf("soak %s: seed %lu, %g minutes\n", name_.c_str(), Long(flags_.seed),
         flags_.minutes);
  fflush(stdout);
}

int Frame::Run(StopSign* stopping,
               const std::vector<std::function<void()>>& threads,
               const std::function<void()>& at_end) {
  std::vector<std::thread> all;
  all.reserve(threads.size());
  for (const std::function<void()>& run : threads) all.emplace_back(run);
  Watch(*stopping);
  stopping->Raise();
  StopSign ended;
  std::thread watchdog([&ended] {
    if (!ended.WaitFor(absl::FromChrono(kStuck))) {
      printf("the threads of the soak do not come to an end\n");
      fflush(stdout);
      abort();
    }
  });
  for (std::thread& thread : all) thread.join();
  if (at_end) at_end();
  ended.Raise();
  watchdog.join();

  CheckBack("/proc/self/fd", "descriptors", descriptors_);
  CheckBack("/proc/self/task", "threads", threads_);
  CheckMemory();
  ledger_->Close();
  const int status = Verdict();
  // What looks for leaks may end the process in another way.
  fflush(stdout);
  return status;
}

void Frame::Watch(const StopSign& stopping) {
  const auto begin = Clock::now();
  int tenths = 0;
  int minutes = 0;
  uint64_t last = 0;
  auto moved = begin;
  while (Clock::now() < begin + total_) {
    stopping.WaitFor(absl::Milliseconds(50));
    const auto now = Clock::now();
    if (ledger_->reported() != last) {
      last = ledger_->reported();
      moved = now;
    } else if (now - moved > kStuck) {
      printf("nothing is reported any more: %lu of %lu\n", Long(last),
             Long(ledger_->started()));
      fflush(stdout);
      abort();
    }
    if (now - begin >= (minutes + 1) * std::chrono::minutes(1)) {
      PrintMinute(++minutes);
    }
    if ((now - begin) * 10 >= (tenths + 1) * total_ && tenths < 10) {
      Sample(++tenths);
    }
  }
  while (tenths < 10) Sample(++tenths);
}

void Frame::PrintMinute(int minute) const {
  printf(
      "minute %d: %lu calls, %lu reported, %lu sends, %lu arrivals, %lu "
      "faults | %s\n",
      minute, Long(ledger_->started()), Long(ledger_->reported()),
      Long(ledger_->sends()), Long(ledger_->arrivals()),
      Long(ledger_->faults()), ledger_->Reasons().c_str());
  fflush(stdout);
}

void Frame::Sample(int tenth) {
  resident_[tenth] = ResidentMb();
  printf("%d %%: %.0f MB resident, %d descriptors, %d threads\n", tenth * 10,
         resident_[tenth], CountIn("/proc/self/fd"),
         CountIn("/proc/self/task"));
  fflush(stdout);
}

int Frame::CountThreads() const {
  int count = 0;
  DIR* const dir = opendir("/proc/self/task");
  while (const dirent* const entry = dir == nullptr ? nullptr : readdir(dir)) {
    if (entry->d_name[0] == '.') continue;
    std::ifstream file(
        absl::StrCat("/proc/self/task/", entry->d_name, "/comm"));
    std::string name;
    std::getline(file, name);
    if (std::find(pools_.begin(), pools_.end(), name) == pools_.end()) ++count;
  }
  if (dir != nullptr) closedir(dir);
  return count;
}

// Waits a little, for servers notice a client's leaving a moment later.
void Frame::CheckBack(const char* folder, const char* what, int before) {
  const bool threads = absl::string_view(folder) == "/proc/self/task";
  int now = 0;
  const auto limit = Clock::now() + std::chrono::seconds(10);
  do {
    now = threads ? CountThreads() : CountIn(folder);
    std::this_thread::yield();
  } while (now > before && Clock::now() < limit);
  printf("%s: %d at the beginning, %d at the end\n", what, before, now);
  if (now <= before) return;
  ledger_->Fault(absl::StrCat("there are ", now, " ", what, ", and were ",
                              before, " at the beginning"));
  DIR* const dir = opendir(folder);
  while (const dirent* const entry = dir == nullptr ? nullptr : readdir(dir)) {
    char target[200] = {};
    const std::string path = absl::StrCat(folder, "/", entry->d_name);
    if (readlink(path.c_str(), target, sizeof(target) - 1) > 0) {
      printf("  %s -> %s%s\n", path.c_str(), target,
             threads ? "" : EndsOf(std::atoi(entry->d_name)).c_str());
    }
    std::ifstream comm(absl::StrCat(path, "/comm"));
    std::string name;
    if (std::getline(comm, name)) printf("  %s\n", name.c_str());
  }
  if (dir != nullptr) closedir(dir);
}

void Frame::CheckMemory() const {
  if (total_ < std::chrono::minutes(1)) return;
  const double early = resident_[2];
  const double last = resident_[10];
  if (last > early * 1.5) {
    ledger_->Fault(absl::StrCat("resident memory has grown from ", early,
                                " MB to ", last));
  }
}

int Frame::Verdict() const {
  printf("sends %lu, arrivals %lu; %s\n", Long(ledger_->sends()),
         Long(ledger_->arrivals()), ledger_->Reasons().c_str());
  const char* const name = name_.c_str();
  if (!flags_.plant.empty()) {
    const bool found = ledger_->faults() != 0;
    printf("soak %s: the planted fault was %s\n", name,
           found ? "found" : "NOT found");
    return found ? 0 : 1;
  }
  if (ledger_->faults() != 0) {
    for (const std::string& fault : ledger_->first_faults()) {
      printf("FAULT: %s\n", fault.c_str());
    }
    printf("soak %s: %lu calls in %g minutes, %lu faults (seed %lu)\n", name,
           Long(ledger_->started()), flags_.minutes, Long(ledger_->faults()),
           Long(flags_.seed));
    return 1;
  }
  printf(
      "soak %s: %lu calls in %g minutes, every one reported once, 0 faults\n",
      name, Long(ledger_->started()), flags_.minutes);
  return 0;
}

}  // namespace forbear::soak
