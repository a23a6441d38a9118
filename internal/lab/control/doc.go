// Package control runs control planes in a lab: an etcd cluster of real etcd
// processes with mutual TLS and authentication, managers as real processes in
// front of it, a balancer that only knows who is ready, and what befalls such
// systems: kill -9, pauses, partitions, restarts one after the other.
//
// It is for tests and measurements. It must not know what the tests look for.
package control
