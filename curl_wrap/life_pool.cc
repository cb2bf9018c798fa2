#include "curl_wrap/life_pool.h"

#include <algorithm>
#include <cstdio>
#include <utility>

namespace forbear::curl {
namespace {

// So many are looked at for one of the same shape.
constexpr size_t kLooked = 4;

}  // namespace

Life::~Life() {
  transport.reset();  // puts options back
  key.reset();
  if (owned && easy != nullptr) curl_easy_cleanup(easy);
  if (spare_ != nullptr) curl_easy_cleanup(spare_);
}

CURL* Life::Open(bool plain) {
  owned = true;
  if (plain) {
    keeps_ = is_set = false;
    if (spare_ != nullptr) curl_easy_cleanup(std::exchange(spare_, nullptr));
  }
  easy = spare_ != nullptr ? std::exchange(spare_, nullptr) : curl_easy_init();
  return easy;
}

std::unique_ptr<Life> LifePool::Take() {
  if (bare_.empty()) return std::make_unique<Life>();
  std::unique_ptr<Life> life = std::move(bare_.back());
  bare_.pop_back();
  return life;
}

std::unique_ptr<Life> LifePool::Take(const Request& request) {
  if (!request.IsPlain()) return std::make_unique<Life>();
  std::unique_ptr<Life> life;
  if (open_.empty()) {
    life = std::make_unique<Life>();
    life->keeps_ = true;
    life->shape_ = request.Shape();
  } else {
    const auto last = open_.rbegin();
    const auto end =
        last + static_cast<std::ptrdiff_t>(std::min(kLooked, open_.size()));
    const auto same = std::find_if(last, end, [&](const auto& one) {
      return request.HasShape(one->shape_);
    });
    const bool fits = same != end;
    if (fits) std::swap(*same, *last);
    life = std::move(*last);
    open_.pop_back();
    if (!fits) {
      life->own = EasyOptions(/*fresh=*/true);
      life->memory = CallMemory();
      life->shape_ = request.Shape();
      life->changed_ = true;
    }
    if (life->changed_ && life->spare_ != nullptr) {
      curl_easy_reset(life->spare_);
    }
    life->changed_ = false;
  }
  return life;
}

void LifePool::Give(std::unique_ptr<Life> life, bool shown) {
  if (life == nullptr) return;
  // What it has set is set again, or reset, or gone.
  if (life->transport && life->owned) life->transport->Leave();
  life->transport.reset();
  life->key.reset();
  life->head.clear();
  life->body.clear();
  life->transfer = nullptr;
  life->is_set = false;
  // The next request's own, or none.
  if (std::exchange(life->takes_body, false)) {
    life->own.Note(CURLOPT_WRITEFUNCTION, OptionValueOf(nullptr));
    life->own.Note(CURLOPT_WRITEDATA, OptionValueOf(stdout));
  }
  if (std::exchange(life->takes_head, false)) {
    life->own.Note(CURLOPT_HEADERFUNCTION, OptionValueOf(nullptr));
    life->own.Note(CURLOPT_HEADERDATA, OptionValueOf(nullptr));
  }
  if (std::exchange(life->writes_head, false)) {
    life->own.Note(CURLOPT_HEADERFUNCTION, OptionValueOf(nullptr));
  }
  if (life->easy != nullptr && !life->owned) {
    life->easy = nullptr;
    life->settings = &life->own;
    if (bare_.size() < kMax) bare_.push_back(std::move(life));
    return;
  }
  if (!life->keeps_ || open_.size() >= kMax) return;
  if (life->easy != nullptr) {
    life->spare_ = std::exchange(life->easy, nullptr);
    life->owned = false;
  }
  // The next request need not say anything of it.
  if (std::exchange(life->at_most_once, false)) {
    curl_easy_setopt(life->spare_, CURLOPT_MAXAGE_CONN, life->own.max_age);
  }
  life->changed_ |= shown;
  open_.push_back(std::move(life));
}

}  // namespace forbear::curl
