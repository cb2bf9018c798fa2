// `forbear explain`: what would be decided for one answer, and why. It sends
// nothing; it asks the functions that the drivers ask (curl_wrap/classify.h,
// interceptors/classify.h, signals/http_classify.h, core/preview.h).
//
//   forbear explain --http-status 429 --header 'Retry-After: 5' --method POST
//
// Thread rule: once, from main.
#ifndef FORBEAR_TOOLS_EXPLAIN_H_
#define FORBEAR_TOOLS_EXPLAIN_H_

#include <string>
#include <vector>

namespace forbear::tools {

// The arguments after "explain". Returns the program's exit code.
int RunExplain(const std::vector<std::string>& args);

}  // namespace forbear::tools

#endif  // FORBEAR_TOOLS_EXPLAIN_H_
