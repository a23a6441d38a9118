// Package scale measures a manager that holds a large fleet: a real process
// with its embedded etcd on a real disk, in network namespaces, spoken to over
// TLS. The fleet is loaded as a backup is restored; then lists, reads, applies
// by cyphonicctl, plans, watches of many adapters and a restart are timed and
// held against what is promised.
//
// A small fleet is measured with the other tests; `make scale` measures
// 1,000,000 general nodes, or CYPHONIC_SCALE_GENERALNODES of them, and leaves
// the table in build/. The package must not change what it measures: everything
// goes through the same doors as in production.
package scale
