#ifndef FORBEAR_CURL_WRAP_PERFORM_H_
#define FORBEAR_CURL_WRAP_PERFORM_H_
#include <curl/curl.h>

#include <memory>

#include "curl_wrap/call_options.h"
#include "curl_wrap/raw_options.h"
#include "runtime/client.h"

namespace forbear::curl {

CallResult Perform(CURL* easy, const RawOptions& options = {},
                   std::shared_ptr<Client> client = Client::Default());

}  // namespace forbear::curl

#endif  // FORBEAR_CURL_WRAP_PERFORM_H_
