// Package reconcile is the work that only one of all managers does at a time:
// it wins an office, does the work under it, and stops when the office is lost.
//
// office.go wins and keeps the office, deletion.go goes on with deletions that
// wait for dependents, policies.go and networks.go write conditions, and
// conditions.go is how they do so; announced.go writes what speakers and
// replicas report into the status of peers, advertisements and services, and
// cloud.go is how. What follows from what is seen is decided by
// pure functions; everything is written through the REST API inside the
// process, fenced, so that a former leader writes nothing.
//
// The package must not know etcd, and must not hold state that the next leader
// would need.
package reconcile
