// How long gRPC's library is up in a test.
//
// When the last user of the library is gone it shuts down, and that may wait up to ten
// seconds for a poller of its own. Tests whose servers come and go cannot have that:
//
//   KeepGrpcUp();           // in the constructor of a server
//
// A program that wants to see all of gRPC end says so, when it has let go of everything:
//
//   if (!ShutGrpcDown()) { … }   // something has not been let go
//
// Thread rule: KeepGrpcUp from anywhere; ShutGrpcDown by one thread, as the last.
#ifndef FORBEAR_TESTS_TESTING_GRPC_LIBRARY_H_
#define FORBEAR_TESTS_TESTING_GRPC_LIBRARY_H_

namespace forbear::testing {

// Until the process ends, or ShutGrpcDown. More than once is once.
void KeepGrpcUp();

// Undoes KeepGrpcUp, and waits until gRPC's threads have ended. False: the library still
// has users, such as channels, calls, alarms or completion queues.
bool ShutGrpcDown();

}  // namespace forbear::testing

#endif  // FORBEAR_TESTS_TESTING_GRPC_LIBRARY_H_
