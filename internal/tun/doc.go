// Package tun is the seam between CYPHONIC and the operating system's virtual network
// interface. It moves IP packets in batches and has two backends behind one interface: one
// that uses the kernel's segmentation offloads (a single system call carries a super-packet
// of up to 64 KB, cut into and joined from packets here) and a portable one.
//
// The package moves packets and sets the interface's MTU. It must not look into packets
// beyond what the offloads need, configure addresses or routes, or start goroutines of its
// own (the offload library listens for interface events until Close).
package tun
