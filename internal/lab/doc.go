// Package lab builds real networks out of Linux network namespaces: hosts, routers, address translators, bridges and
// links, described by a Topology value. The demo, the lab left running for a person, the end-to-end tests and the
// benchmarks all stand on it.
//
// It knows nothing of CYPHONIC's programs (package overlay starts those) and it never touches a namespace, an
// interface or a process that it did not create. Everything it creates carries the name of its run, so that several
// labs can live at once, and is removed by Close; if the creating process dies first, a watcher removes it.
//
// Root is required.
package lab
