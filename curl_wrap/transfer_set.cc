#include "curl_wrap/transfer_set.h"

#include <algorithm>
#include <cstdio>

#include "absl/container/btree_map.h"
#include "core/action.h"
#include "core/call_record.h"
#include "core/outcome.h"
#include "core/stop_reason.h"
#include "curl_wrap/call_place.h"
#include "curl_wrap/classify.h"
#include "curl_wrap/easy_options.h"
#include "curl_wrap/handle.h"
#include "curl_wrap/http_transport.h"
#include "curl_wrap/transfer_loop.h"
#include "runtime/clock.h"

namespace forbear::curl {
namespace {

// Hosts of which nobody speaks any more, and that are remembered.
constexpr size_t kMaxIdleHosts = 64;

}  // namespace

struct Transfer::Host {
  std::string key;
  // Those that wait for a place.
  absl::btree_map<uint64_t, Transfer*> ready;
  size_t in_flight = 0;
  size_t users = 0;    // transfers that are not over
  uint64_t order = 0;  // in open_; 0: not there
};

TransferSet::Limits TransferSet::LimitsOf(const EngineOptions& options) {
  Limits limits;
  limits.max_in_flight = static_cast<size_t>(options.max_in_flight);
  limits.max_per_host = static_cast<size_t>(options.max_per_host);
  limits.max_kept = static_cast<size_t>(options.max_kept);
  limits.max_body_bytes = static_cast<uint64_t>(options.max_body_bytes);
  return limits;
}

TransferSet::TransferSet(CURLM* multi, std::shared_ptr<Client> client,
                         const Limits& limits, std::function<void()> on_over)
    : multi_(multi),
      client_(std::move(client)),
      limits_(limits),
      on_over_(std::move(on_over)) {}

TransferSet::~TransferSet() = default;

TransferSet::Counts TransferSet::counts() const {
  Counts counts;
  counts.queued = queued_;
  counts.in_flight = in_flight_.size();
  counts.waiting = all_.size() - queued_ - in_flight_.size();
  return counts;
}

MonotonicTime TransferSet::next() const {
  return over_.empty() ? due_.earliest() : MonotonicTime::InfinitePast();
}

// --- What comes in. ---

void TransferSet::Post(Inbox::Item item) {
  if (item.what == Inbox::What::kStart) {
    Add(std::move(item.transfer));
    return;
  }
  const auto found = all_.find(item.id);
  if (found == all_.end()) return;  // it is over
  Transfer* const t = found->second.get();
  if (item.what == Inbox::What::kCancel) {
    Cancel(t);
    return;
  }
  t->woken = false;
  if (t->state == State::kWaiting) MakeReady(t, State::kReady);
}

CallSetup TransferSet::SetUp(Transfer* t) {
  if (t->handle != nullptr) {
    return CallSetup(client_.get(), HandleAccess::Settings(*t->handle),
                     HandleAccess::Easy(*t->handle), t->options(), t->started,
                     HandleAccess::Memory(*t->handle, client_.get()));
  }
  t->life = NewLife(t);
  Life& life = *t->life;
  // Mostly it begins now, and one pass does for both.
  life.is_set =
      life.spare() != nullptr &&
      t->request.PutOn(life.spare(), &life.own, &life.lists) == CURLE_OK;
  if (!life.is_set) t->request.PutOn(nullptr, &life.own, &life.lists);
  return CallSetup(client_.get(), t->life->own, nullptr, t->options(),
                   t->started, &t->life->memory);
}

std::unique_ptr<Life> TransferSet::NewLife(Transfer* t) {
  std::unique_ptr<Life> life =
      t->handle != nullptr ? lives_.Take() : lives_.Take(t->request);
  life->set = this;
  life->transfer = t;
  return life;
}

Transfer::Host* TransferSet::HostOf(absl::string_view target) {
  if (last_host_ != nullptr && last_host_->key == target) return last_host_;
  const auto found = hosts_.find(target);
  if (found != hosts_.end()) return last_host_ = found->second.get();
  auto host = std::make_unique<Host>();
  host->key = std::string(target);
  last_host_ = host.get();
  hosts_.emplace(host->key, std::move(host));
  return last_host_;
}

bool TransferSet::HasPlace(const Host& host) const {
  return in_flight_.size() < limits_.max_in_flight && open_.empty() &&
         host.in_flight < limits_.max_per_host;
}

void TransferSet::Add(std::shared_ptr<Transfer> transfer) {
  Transfer* const t = transfer.get();
  all_.emplace(t->id, std::move(transfer));
  ++queued_;
  CallSetup setup = SetUp(t);
  t->host =
      HostOf(setup.handle == nullptr ? absl::string_view(setup.request.target)
                                     : setup.handle->names.target());
  ++t->host->users;
  if (HasPlace(*t->host)) {
    Begin(t, &setup, MonotonicNow());
  } else {
    MakeReady(t, State::kNew);
  }
}

void TransferSet::Begin(Transfer* t, CallSetup* setup, MonotonicTime now) {
  --queued_;
  t->begun_at = now;
  if (setup->fault != CURLE_OK) {
    t->odd = std::make_unique<Transfer::Odd>();
    FillFault(setup->fault, &t->odd->result);
    Finish(t);
  } else if (setup->passes_through) {
    StartPlain(t, setup);
  } else {
    t->BeginCall(client_.get(), setup, all_.at(t->id));
    t->call().Begin();
    GoOn(t);
  }
}

void TransferSet::Cancel(Transfer* t) {
  switch (t->state) {
    case State::kOver:
      return;
    case State::kNew: {
      TakeFromReady(t);
      --queued_;
      CallSetup setup = SetUp(t);
      t->begun_at = MonotonicNow();
      if (setup.fault != CURLE_OK || setup.passes_through) {
        t->odd = std::make_unique<Transfer::Odd>();
        CallResult& result = t->odd->result;
        FillFault(CURLE_ABORTED_BY_CALLBACK, &result);
        result.stop_reason = result.record.stop_reason = StopReason::kCancelled;
        Finish(t);
        return;
      }
      t->BeginCall(client_.get(), &setup, all_.at(t->id));
      t->call().OnCancel();
      break;
    }
    case State::kReady:
      TakeFromReady(t);
      t->call().OnCancel();
      break;
    case State::kWaiting:
      t->call().OnCancel();
      break;
    case State::kInFlight:
      Land(t);
      if (t->odd != nullptr) {
        FinishPlain(t, CURLE_ABORTED_BY_CALLBACK);
        return;
      }
      t->life->transport->EndCancelled();
      break;
  }
  GoOn(t);
}

void TransferSet::CancelAll() {
  std::vector<uint64_t> ids;
  ids.reserve(all_.size());
  for (const auto& [id, transfer] : all_) ids.push_back(id);
  std::sort(ids.begin(), ids.end());
  for (const uint64_t id : ids) Cancel(all_.at(id).get());
}

// --- Places. ---

Transfer* TransferSet::FirstReady(Host* host) {
  return host->ready.empty() ? nullptr : host->ready.begin()->second;
}

void TransferSet::Sort(Host* host) {
  uint64_t order = 0;
  if (host->in_flight < limits_.max_per_host) {
    const Transfer* const first = FirstReady(host);
    if (first != nullptr) order = first->id;
  }
  if (order == host->order) return;
  if (host->order != 0) open_.erase({host->order, host});
  if (order != 0) open_.insert({order, host});
  host->order = order;
}

void TransferSet::MakeReady(Transfer* t, State state) {
  // What a request is set up with is made again when its turn has come.
  if (!t->lives()) LetGo(t);
  t->state = state;
  t->host->ready.emplace(t->id, t);
  Sort(t->host);
  // Nobody waits for a place any longer than for the rest.
  due_.Set(t, state == State::kNew ? t->started + t->options().deadline
                                   : t->call().record().deadline);
}

void TransferSet::TakeFromReady(Transfer* t) {
  due_.Remove(t);
  t->host->ready.erase(t->id);
  // For no place.
  t->state = State::kWaiting;
  Sort(t->host);
}

void TransferSet::Leave(Host* host) {
  if (--host->users > 0 || hosts_.size() <= kMaxIdleHosts) return;
  if (host == last_host_) last_host_ = nullptr;
  hosts_.erase(host->key);
}

void TransferSet::FillPlaces(MonotonicTime now) {
  while (in_flight_.size() < limits_.max_in_flight && !open_.empty()) {
    Transfer* const t = FirstReady(open_.begin()->second);
    const bool is_new = t->state == State::kNew;
    TakeFromReady(t);
    if (is_new) {
      CallSetup setup = SetUp(t);
      Begin(t, &setup, now);
    } else {
      Ask(t, now);
    }
  }
}

void TransferSet::Ask(Transfer* t, MonotonicTime now) {
  if (now >= t->until) {
    t->call().OnTimer();
  } else {
    t->call().OnWake();
  }
  GoOn(t);
  // It was woken for nothing.
  if (t->state == State::kWaiting && !t->due.is_set()) Wait(t, t->until);
}

void TransferSet::OnDue(Transfer* t, MonotonicTime now) {
  switch (t->state) {
    case State::kOver:
      return;
    case State::kNew: {
      // Its deadline has come first: it ends without a place.
      TakeFromReady(t);
      CallSetup setup = SetUp(t);
      if (setup.passes_through && setup.fault == CURLE_OK) {
        // … but for one that has none.
        MakeReady(t, State::kNew);
        due_.Remove(t);
        return;
      }
      Begin(t, &setup, now);
      return;
    }
    case State::kReady:
      TakeFromReady(t);
      Ask(t, now);
      return;
    case State::kWaiting:
      // Of those that are due, the first goes first.
      if (HasPlace(*t->host) && due_.earliest() > now) {
        Ask(t, now);
      } else {
        MakeReady(t, State::kReady);
      }
      return;
    case State::kInFlight:
      if (now >= t->until) {
        Land(t);
        t->life->transport->End(CURLE_OPERATION_TIMEDOUT);
        GoOn(t);
      } else if (!t->life->transport->OnHoldOver()) {
        Land(t);
        t->life->transport->End(CURLE_WRITE_ERROR);
        GoOn(t);
      } else {
        SetDue(t);
      }
      return;
  }
}

// --- Attempts. ---

void TransferSet::GoOn(Transfer* t) {
  Call& call = t->call();
  call.TakeAftermath().Deliver();
  Action action;
  while (call.NextAction(&action)) {
    call.TakeAftermath().Deliver();
    switch (action.type) {
      case Action::Type::kStartAttempt:
        StartAttempt(t, action.attempt, action.time);
        break;
      case Action::Type::kWaitUntil:
        Wait(t, action.time);
        break;
      case Action::Type::kCancelAttempt:
        break;  // there is one at a time, and it has landed
      case Action::Type::kFinish:
        Finish(t);
        return;
    }
    call.TakeAftermath().Deliver();
  }
}

void TransferSet::StartAttempt(Transfer* t, int n, MonotonicTime deadline) {
  if (t->kept) {
    t->kept = false;
    --kept_;
  }
  t->dropped = false;
  if (!t->lives()) {
    const CURLcode code = MakeLife(t, /*plain=*/false);
    if (code != CURLE_OK) {
      t->odd = std::make_unique<Transfer::Odd>();
      t->odd->result.code = code;
      AttemptFacts facts;
      facts.code = code;
      Outcome outcome = Classify(facts);
      outcome.kind = ErrorKind::kPermanent;
      t->call().OnAttemptDone(n, outcome);
      return;
    }
    Life& life = *t->life;
    const Transfer::Begun& begun = t->begun();
    if (t->handle != nullptr) {
      HandleAccess::SetRun(t->handle, /*plain=*/false,
                           /*keyed=*/begun.key_line != nullptr);
    }
    if (begun.key_line != nullptr) {
      life.key.emplace(life.easy, life.settings, *begun.key_line);
    }
    HttpTransport::Limits limits;
    limits.max_held_bytes = begun.max_held_bytes;
    limits.max_buffered_body = begun.max_buffered_body;
    limits.max_hold = begun.max_hold - MonotonicTime();
    limits.at_most_once = begun.at_most_once;
    HttpTransport::Readers readers;
    readers.profile = begun.profile.profile;
    readers.generic = &begun.profile.set->generic();
    readers.classifier = &client_->options().classify_http;
    readers.places =
        RedirectPlaces(client_.get(), life.settings, begun.place_names());
    life.at_most_once = begun.at_most_once;
    life.transport.emplace(life.easy, life.settings, limits, readers,
                           &life.room);
    life.transport->WatchHold(&OnHold, &life);
    if (t->handle == nullptr) {
      if (!life.url || !life.url->MoveTo(life.own.url)) {
        life.url.emplace(life.own.url);
      }
      life.transport->SetParsedUrl(&*life.url);
    } else if (const CallMemory* const memory =
                   HandleAccess::Memory(*t->handle, client_.get())) {
      life.transport->SetParsedUrl(memory->parsed_url());
    }
  }
  if (!t->life->transport->Begin(&t->call(), n)) return;
  if (!TakeOff(t, deadline)) {
    t->life->transport->SetError(
        "forbear: the handle belongs to a multi handle of others");
    t->life->transport->End(CURLE_FAILED_INIT);
  }
}

void TransferSet::StartPlain(Transfer* t, CallSetup* setup) {
  t->odd = std::make_unique<Transfer::Odd>();
  t->odd->setup = std::make_unique<CallSetup>(std::move(*setup));
  CallResult& result = t->odd->result;
  result.record.wall_start = WallNow();
  result.record.begin = MonotonicNow();
  CURLcode code = MakeLife(t, /*plain=*/true);
  if (code == CURLE_OK) {
    if (t->handle != nullptr) {
      HandleAccess::SetRun(t->handle, /*plain=*/true, /*keyed=*/false);
    }
    if (TakeOff(t, MonotonicTime::Infinite())) return;
    code = CURLE_FAILED_INIT;
  }
  FillFault(code, &result);
  Finish(t);
}

CURLcode TransferSet::MakeLife(Transfer* t, bool plain) {
  if (t->handle != nullptr) {
    t->life = NewLife(t);
    t->life->easy = HandleAccess::Easy(*t->handle);
    t->life->settings = &HandleAccess::Settings(*t->handle);
    return CURLE_OK;
  }
  std::unique_ptr<Life> life = std::move(t->life);
  // The settings are there, if it was set up right now.
  const bool known = life != nullptr;
  if (!known) life = NewLife(t);
  if (life->Open(plain) == nullptr) return CURLE_OUT_OF_MEMORY;
  if (!life->is_set) {
    const CURLcode code = t->request.PutOn(
        life->easy, known ? nullptr : &life->own, &life->lists);
    if (code != CURLE_OK) return code;
  }
  EasyOptions& own = life->own;
  // Of those that the transport replaces, the handle itself has its own.
  const auto set = [&](CURLoption option, const OptionValue& value) {
    if (plain) Forward(life->easy, option, value);
    own.Note(option, value);
  };
  life->takes_body = own.write_function == nullptr && own.write_data == stdout;
  life->takes_head =
      own.header_function == nullptr && own.header_data == nullptr;
  // Or libcurl would give its lines to the body's function, with that data.
  life->writes_head =
      life->takes_body && !life->takes_head && own.header_function == nullptr;
  if (life->writes_head) {
    set(CURLOPT_HEADERFUNCTION, OptionValueOf(&WriteHead));
  }
  if (life->takes_body) {
    set(CURLOPT_WRITEFUNCTION, OptionValueOf(&Collect));
    set(CURLOPT_WRITEDATA, OptionValueOf(life.get()));
  }
  if (life->takes_head) {
    set(CURLOPT_HEADERFUNCTION, OptionValueOf(&CollectHead));
    set(CURLOPT_HEADERDATA, OptionValueOf(life.get()));
  }
  life->max_body = limits_.max_body_bytes;
  t->life = std::move(life);
  return CURLE_OK;
}

bool TransferSet::TakeOff(Transfer* t, MonotonicTime deadline) {
  CURL* const easy = t->life->easy;
  if (curl_multi_add_handle(multi_, easy) != CURLM_OK) return false;
  in_flight_.emplace(easy, t);
  t->state = State::kInFlight;
  t->until = deadline;
  ++t->host->in_flight;
  Sort(t->host);
  SetDue(t);
  return true;
}

void TransferSet::Land(Transfer* t) {
  in_flight_.erase(t->life->easy);
  t->life->Spoil();
  Settle(t, /*in_mid_air=*/true);
}

void TransferSet::Settle(Transfer* t, bool in_mid_air) {
  RemoveHandle(multi_, t->life->easy, *t->life->settings, in_mid_air);
  due_.Remove(t);
  // Until it is known how it goes on.
  t->state = State::kWaiting;
  --t->host->in_flight;
  Sort(t->host);
}

void TransferSet::SetDue(Transfer* t) {
  due_.Set(t, t->life->transport
                  ? Earlier(t->until, t->life->transport->hold_until())
                  : t->until);
}

void TransferSet::OnHold(void* life) {
  const auto* const of = static_cast<Life*>(life);
  if (of->transfer->state == State::kInFlight) of->set->SetDue(of->transfer);
}

bool TransferSet::OnMessage(CURL* easy, CURLcode code) {
  const auto found = in_flight_.find(easy);
  if (found == in_flight_.end()) return false;
  Transfer* const t = found->second;
  in_flight_.erase(found);
  if (code != CURLE_OK) t->life->Spoil();
  Settle(t, /*in_mid_air=*/false);
  if (t->odd != nullptr) {
    FinishPlain(t, code);
    return true;
  }
  t->life->transport->End(code);
  GoOn(t);
  return true;
}

void TransferSet::Wait(Transfer* t, MonotonicTime until) {
  t->state = State::kWaiting;
  t->until = until;
  due_.Set(t, until);
  if (!t->lives()) LetGo(t);
  if (t->life == nullptr || t->kept || t->handle != nullptr ||
      t->life->settings->body() == EasyOptions::Body::kStream) {
    return;
  }
  if (kept_ < limits_.max_kept) {
    t->kept = true;
    ++kept_;
    return;
  }
  LetGo(t);
  t->dropped = true;
}

void TransferSet::FinishPlain(Transfer* t, CURLcode code) {
  CallResult& result = t->odd->result;
  result.code = code;
  t->odd->setup->RecordPlain(client_.get(), *t->life->settings, t->life->easy,
                             code, &result.record);
  Finish(t);
}

void TransferSet::Finish(Transfer* t) {
  if (!t->lives()) LetGo(t);
  t->state = State::kOver;
  due_.Remove(t);
  if (t->kept) {
    t->kept = false;
    --kept_;
  }
  over_.push_back(t);
}

// --- Reports. ---

void TransferSet::FillResponse(Transfer* t, Response* response) {
  Life* const life = t->life.get();
  response->queued = t->begun_at - t->started;
  if (t->has_begun()) {
    t->call().TakeRecord(&response->record);
    const CallRecord& record = response->record;
    response->answer_dropped = t->dropped;
    if (t->odd != nullptr) {
      response->code = t->odd->result.code;  // libcurl refused it
    } else if (life != nullptr) {
      response->code = life->transport->Conclude(record);
    } else {
      response->code = CodeOfUnsent(record.stop_reason);
      if (t->dropped && response->code == CURLE_COULDNT_CONNECT) {
        response->code = CURLE_PARTIAL_FILE;
      }
    }
  } else {
    static_cast<CallResult&>(*response) = std::move(t->odd->result);
  }
  if (life != nullptr) {
    response->easy = life->easy;
    response->head = std::move(life->head);
    response->body = std::move(life->body);
  } else if (t->dropped && !response->record.attempts.empty()) {
    response->http_status = response->record.attempts.back().outcome.status;
  }
  FillResult(response->easy, response);
}

void TransferSet::Report(Transfer* t) {
  Response response;
  FillResponse(t, &response);
  // The handle is the application's again, and it may use it in Done.
  std::unique_ptr<Life> life = std::move(t->life);
  if (life != nullptr) {
    if (life->owned && life->transport) life->transport->Leave();
    life->transport.reset();
    life->key.reset();
  }
  if (t->handle != nullptr) HandleAccess::End(t->handle);
  t->EndCall();
  Leave(t->host);
  const auto found = all_.find(t->id);
  const std::shared_ptr<Transfer> last = std::move(found->second);
  all_.erase(found);
  if (on_over_) on_over_();
  if (!t->shows_easy) response.easy = nullptr;
  const bool shown = t->done && response.easy != nullptr;
  if (t->done) t->done(std::move(response));
  lives_.Give(std::move(life), shown);
}

void TransferSet::Run(MonotonicTime now) {
  while (due_.earliest() <= now) OnDue(due_.Pop(), now);
  FillPlaces(now);
  std::vector<Transfer*> over;
  over.swap(over_);
  for (Transfer* const t : over) Report(t);
  over.clear();
  if (over_.empty()) over_.swap(over);  // its memory
}

size_t TransferSet::Collect(char* data, size_t size, size_t n, void* life) {
  auto* const to = static_cast<Life*>(life);
  if (to->body.size() + size * n > to->max_body) return 0;
  to->body.append(data, size * n);
  return size * n;
}

size_t TransferSet::WriteHead(char* data, size_t size, size_t n, void* file) {
  return fwrite(data, size, n, static_cast<FILE*>(file)) * size;
}

size_t TransferSet::CollectHead(char* data, size_t size, size_t n, void* life) {
  static_cast<Life*>(life)->head.append(data, size * n);
  return size * n;
}

}  // namespace forbear::curl
