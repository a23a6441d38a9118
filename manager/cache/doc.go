// Package cache keeps all resources in memory, so that a replica of the manager
// reads the database once and not once per client. It has one watch, whoever
// asks; it answers with immutable views of one revision; it remembers recent
// changes so that clients resume; and it tells subscribers only what concerns
// them.
//
// A resource is kept as the bytes that are stored, with the few fields that
// lists are filtered by. The package must not decode more than those fields,
// decide what a client may see, or write to the database.
//
//	Run ─ follow:  store ── watch ──► apply ──► tables (copy on write) ──► View
//	                                    │
//	                                    ├────► history (ring) ──► Subscription by kind
//	                                    └────► Subscription by adapter, by name
//	      refresh: store.Revision, shared by all who are in Fresh at the time
//	      prod:    asks the watch for progress while somebody waits for a revision
package cache
