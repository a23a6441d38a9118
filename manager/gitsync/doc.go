// Package gitsync keeps the manifests of git repositories applied: one worker
// per GitSource fetches a commit, has the whole of it planned, applies it if
// nothing in it is refused, and corrects what is changed by hand.
//
// It is a client like any other: everything goes through the REST API, inside
// the process, as the principal of the git source with the rights of its role,
// so that validation, authorisation and audit are the same. It must not read
// or write the store.
//
// repository fetches, manifests.go makes documents of files, core.go decides
// (pure), round.go does one round, worker.go repeats it, gitsync.go has a
// worker for each source. settled.go knows when nothing can have changed.
package gitsync
