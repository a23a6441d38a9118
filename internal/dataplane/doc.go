// Package dataplane moves IP packets between the virtual interface and the tunnels.
//
// Outwards: the virtual interface gives a batch of packets → lookup by (source, destination)
// virtual address → filter → staging, which fixes the order and takes the send counters →
// workers seal → sending, in the order of staging. Inwards the same way back: the UDP socket
// gives a batch of datagrams → lookup by receiver index → workers open → in the order of
// arrival: replay window, control messages, source check, filter → virtual interface.
//
// Concurrency: each direction has a fixed number of workers that take turns in the reading
// role. The one that has it reads and stages a batch, passes the role on, seals or opens its
// batch and releases it. Releases happen in the order of staging: a batch that is ready
// before its turn is left for the worker that is releasing. A batch thus stays with one
// worker and one core from the first byte to the last, and no packet is handed over alone. A
// small batch is cheaper to finish than to wake another worker for, so the role is passed on
// only from handoverPackets upwards.
//
// Ownership of memory: every packet lives in a buffer of its batch from reading to release.
// Batches come from a fixed pool per direction; when none is free, reading waits, and the
// kernel's queue in front of it is the one that overflows. What a Handler gets is valid until
// it returns.
//
// The package decides nothing about peers: no handshake, no choice of path, no signalling.
// It must not import the resource types.
package dataplane
