// Package rest is the REST API of the manager: it decodes, authorises and
// validates requests, turns each write into one transaction of the store, and
// streams changes.
//
// server.gen.go is generated from openapi/. What kinds have in common is in
// resource.go (reading), write.go (create, apply, delete, status), plan.go (the
// keys that go with a resource) and watch.go; what sets a kind apart is in
// devices.go, networks.go and tokens.go; operations.go connects both to the
// generated interface with two lines per operation.
//
// The package must not know etcd, and it keeps no state that another manager
// on the same store would need.
package rest
