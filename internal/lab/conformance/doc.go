// Package conformance holds the tests that hold a running manager against its
// specification from outside: every operation with generated, stateful and
// hostile requests, and clients generated in other languages.
package conformance
