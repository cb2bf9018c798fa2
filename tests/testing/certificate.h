#ifndef FORBEAR_TESTS_TESTING_CERTIFICATE_H_
#define FORBEAR_TESTS_TESTING_CERTIFICATE_H_

namespace forbear::testing {

// A certificate that signs itself, for 127.0.0.1 and localhost, until 2126, and its key,
// which is no secret: for servers of tests, and nothing else.
inline constexpr char kCertificate[] = R"(-----BEGIN CERTIFICATE-----
MIIBsDCCAVWgAwIBAgIUN+wE/jPC6qRnwoQVTuKAE7o+wdUwCgYIKoZIzj0EAwIw
HjEcMBoGA1UEAwwTZm9yYmVhciB0ZXN0IHNlcnZlcjAgFw0yNjExMzAxNDM4MzRa
GA8yMTI2MTEwNjE0MzgzNFowHjEcMBoGA1UEAwwTZm9yYmVhciB0ZXN0IHNlcnZl
cjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABLBd0z7njMVIWLjn4I8Ve+HqCy7y
tECaWmX9CHDPsbqbh3gkh4cJ11RtuPCGxKY517dAA3PRTn92qr516Sg1ifujbzBt
MB0GA1UdDgQWBBQazcbdhM+xoqOKEynsizIm2unJDjAfBgNVHSMEGDAWgBQazcbd
hM+xoqOKEynsizIm2unJDjAPBgNVHRMBAf8EBTADAQH/MBoGA1UdEQQTMBGHBH8A
AAGCCWxvY2FsaG9zdDAKBggqhkjOPQQDAgNJADBGAiEAs802TZ+GY6Zh8ib6DXhi
wLJjeZ5ExkaCNsdF9DCJi20CIQCOGqwGK7z7DXnJomVKFy3/Z3vl6JkieY50dpai
y/HcgQ==
-----END CERTIFICATE-----
)";
inline constexpr char kCertificateKey[] = R"(-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgILRu3KC5u2rApF5O
SIYx5+7+v/oKgqFbsBHFC98M4zehRANCAASwXdM+54zFSFi45+CPFXvh6gsu8rRA
mlpl/Qhwz7G6m4d4JIeHCddUbbjwhsSmOde3QANz0U5/dqq+dekoNYn7
-----END PRIVATE KEY-----
)";

}  // namespace forbear::testing

#endif  // FORBEAR_TESTS_TESTING_CERTIFICATE_H_
