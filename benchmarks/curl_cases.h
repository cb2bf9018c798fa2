// What curl_bench measures: HTTP requests to one server, done n times in a loop.
//
// A request has six header lines; its answer has a body of kBodyBytes, which the
// application's functions take, line by line and chunk by chunk. Each way sends the
// same bytes: the handle is set up once and used again and again, on connections that
// stay.
//
//   const std::unique_ptr<CurlCase> one = MakeCurlCase("handle get", url);
//   one->Run(1000);
//
// A request that fails, or is answered by anything else, ends the program: it would
// be a measurement of something else.
//
// Thread rule: a case belongs to one thread.
#ifndef FORBEAR_BENCHMARKS_CURL_CASES_H_
#define FORBEAR_BENCHMARKS_CURL_CASES_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

namespace forbear::bench {

// Of each answer, and of what a POST sends.
inline constexpr size_t kBodyBytes = 1024;
inline constexpr size_t kFieldsBytes = 256;

// Requests that the cases with many of them keep in flight.
inline constexpr int kInFlight = 64;

class CurlCase {
 public:
  virtual ~CurlCase() = default;
  virtual void Run(int64_t n) = 0;
};

// "plain get":   curl_easy_perform.
// "handle get":  forbear::curl::Handle::Perform, with a client of its own and the
//                default options; its record is made.
// "plain post", "handle post": the same with POSTFIELDS, and an Idempotency-Key by
//                which the call may be repeated.
// "multi get":   kInFlight of them at a time by curl_multi_socket_action and epoll, as
//                a program does it by hand.
// "multi request": the same, with an easy handle that is made for each.
// "engine get":  the same by forbear::curl::Engine, with Handles.
// "engine request": the same, with a Request that is made for each.
//
// Null: there is no such case. `url` must answer kBodyBytes to GET and POST. One that
// answers at once is answered before the next request of many is sent: then there is
// but one in flight.
std::unique_ptr<CurlCase> MakeCurlCase(const std::string& name,
                                       const std::string& url);

}  // namespace forbear::bench

#endif  // FORBEAR_BENCHMARKS_CURL_CASES_H_
