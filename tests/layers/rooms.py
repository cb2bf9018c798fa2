"""Which room may use what: the table that check.py holds every source and rule to."""

# Room (a folder at the root): (rooms it may use beside itself, what else it may use).
# Every room has the parts of the standard library that are plain values; "std" is the
# rest of it, with threads, clocks, chance and files. ALL is both or either without limit.
ALL = "*"
ROOMS = {
    "core": ("", "absl"),
    "signals": ("core", "absl"),
    "runtime": ("core signals", "absl std posix"),  # posix: membarrier(2)
    "interceptors": ("core signals runtime proto", "absl std grpc"),  # proto: service configs
    "curl_wrap": ("core signals runtime", "absl std posix curl"),  # posix: SIGPIPE, fseeko
    "proto": ("core", "absl std protobuf"),
    "cache": ("core runtime", "absl std"),
    "telemetry": ("core signals runtime proto", "absl std protobuf"),
    "tools": (ALL, ALL),
    "examples": (ALL, ALL),
    "benchmarks": (ALL, ALL),
    "tests": (ALL, ALL),
}

# No clock, no thread and no chance in here: these words are refused.
PURE = ("core", "signals")
BANNED = [
    r"\babsl::(Now|GetCurrentTimeNanos|SleepFor|Mutex|CondVar|Notification|BitGen|InsecureBitGen)\b",
    r"\babsl::\w*BitGen\w*",
    r"\b\w+_clock::now\b",
    r"\b(clock_gettime|gettimeofday|timespec_get)\b",
    r"\bstd::(time|clock)\s*\(",
    r"\b(SleepFor|sleep_for|sleep_until|usleep|nanosleep)\b",
    r"\bsleep\s*\(",
    r"\brandom_device\b",
    r"\bs?rand\s*\(",
    r"\bstd::(\w*mutex|thread|jthread|condition_variable\w*|async|this_thread)\b",
]

# What "std" adds.
IMPURE_STD = set("""
    atomic chrono condition_variable csignal ctime execution filesystem fstream future
    iostream mutex random shared_mutex thread
""".split())
PLAIN_STD = set("""
    algorithm any array bitset cassert ccomplex cctype cerrno cfenv cfloat charconv
    cinttypes climits clocale cmath codecvt complex csetjmp cstdarg cstddef cstdint cstdio
    cstdlib cstring cuchar cwchar cwctype deque exception forward_list functional
    initializer_list iomanip ios iosfwd istream iterator limits list locale map memory
    memory_resource new numeric optional ostream queue ratio regex scoped_allocator set
    sstream stack stdexcept streambuf string string_view system_error tuple type_traits
    typeindex typeinfo unordered_map unordered_set utility valarray variant vector
""".split())
POSIX = r"""(sys|net|netinet|arpa|linux|sanitizer)/\w+\.h|
    (dirent|dlfcn|errno|execinfo|fcntl|getopt|ifaddrs|limits|link|malloc|netdb|poll|pthread|pwd|
    sched|semaphore|signal|spawn|stdint|stdio|stdlib|string|strings|syslog|termios|time|
    unistd|wait)\.h"""

# Header (a pattern) -> what it belongs to, the labels one of which must be in deps.
# abseil's are spelled out below.
PARTIES = [
    (r"grpcpp/test/.*", "grpc", ["@com_github_grpc_grpc//:grpc++_test"]),
    (r"(grpc|grpcpp)/.*", "grpc", ["@com_github_grpc_grpc//:grpc++"]),
    (r"google/protobuf/.*", "protobuf", ["@com_google_protobuf//:protobuf"]),
    (r"curl/.*", "curl", ["@curl//:curl"]),
    (r"(event2/(http|dns|rpc)|evhttp|evdns|evrpc)(_struct|_compat)?\.h", "libevent", ["@libevent//:event_extra"]),
    (r"(event2/.*|event|evutil)\.h", "libevent", ["@libevent//:event_core"]),
    (r"g(test|mock)/.*", "gtest", ["@com_google_googletest//:gtest", "@com_google_googletest//:gtest_main"]),
    (r"benchmark/.*", "benchmark",
     ["@com_github_google_benchmark//:benchmark", "@com_github_google_benchmark//:benchmark_main"]),
]
# Repository of a rule's dep -> what it belongs to.
REPOSITORIES = {
    "com_google_absl": "absl",
    "com_github_grpc_grpc": "grpc",
    "com_google_protobuf": "protobuf",
    "curl": "curl",
    "libevent": "libevent",
    "com_google_googletest": "gtest",
    "com_github_google_benchmark": "benchmark",
}

# absl/a/b.h is in @com_google_absl//absl/a:b, but for these.
ABSL = {
    "algorithm/algorithm": "algorithm:algorithm",
    "base/call_once": "base:base",
    "base/config": "base:config",
    "base/options": "base:config",
    "base/casts": "base:base",
    "base/attributes": "base:core_headers",
    "base/const_init": "base:core_headers",
    "base/macros": "base:core_headers",
    "base/optimization": "base:core_headers",
    "base/port": "base:core_headers",
    "base/thread_annotations": "base:core_headers",
    "container/btree_map": "container:btree",
    "container/btree_set": "container:btree",
    "strings/cord": "strings:cord",
    "strings/str_format": "strings:str_format",
}
ABSL_FOLDERS = {  # every other header of these
    "strings": "strings:strings",
    "synchronization": "synchronization:synchronization",
    "time": "time:time",
}
