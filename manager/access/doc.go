// Package access says who makes a request and what they may do.
//
// Who: credential.go takes the one credential of a request; administrator.go, adapter.go, apitoken.go, idtoken.go (with provider.go)
// and certificate.go each check one sort; failures.go slows guessing down. What: rights.go compiles roles and role bindings, decide.go
// answers, guard.go keeps people from giving away more than they have. network.go says which network a resource belongs to.
//
// The package must not write anything, must not know routes or HTTP statuses, and must not log or return a secret. It keeps no state
// that another manager on the same store would need.
package access
