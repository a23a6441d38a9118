// Package faults holds the tests of the control plane under faults: histories
// of concurrent clients against three managers on three etcd members, while
// processes are killed and paused and the network is cut, are checked for
// linearizability; managers are restarted under load; etcd loses its quorum.
package faults
