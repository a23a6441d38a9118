// Package e2e holds the end-to-end tests: the real programs, started as users start them, on a lab of network
// namespaces. Each test shows one sentence of what must hold about the running system. All tests share one network,
// so a test undoes what it changes. They need root; a failing test leaves logs and packets in build/evidence.
package e2e
