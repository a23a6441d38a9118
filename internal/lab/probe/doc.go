// Package probe holds the ordinary programs of a lab's hosts: a web server with a page and arbitrarily large files, a
// long TCP stream, echoes, a DNS server for the rest of the world, and an attacker that sends crafted frames. They
// know nothing of CYPHONIC: what they can do over the overlay, an unchanged application can do.
package probe
