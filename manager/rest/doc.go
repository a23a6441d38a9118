// Package rest is the REST API of the manager: it decodes, authorises and
// validates requests, turns each write into one transaction of the store, and
// streams changes.
//
// server.gen.go is generated from openapi/, and operations.gen.go, which
// connects it to what kinds have in common: list.go, watch.go, stream.go and
// resource.go (reading), write.go, patch.go, status.go and deletion.go (POST
// and PUT, PATCH, …/status, DELETE), all of which end in plan.go, the
// transaction of a change with the keys that go with it. round.go says from
// where writes read and when they are tried again; rehearsal.go and plans.go do
// them for show; idempotency.go repeats answers; cascade.go goes on with
// deletions that wait; notices.go tells what happened in events. What sets a
// kind apart is in devices.go, networks.go, tokens.go and escalation.go.
//
// The package must not know etcd, and it keeps no state that another manager
// on the same store would need.
package rest
