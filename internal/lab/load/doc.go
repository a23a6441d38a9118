// Package load is what thousands of devices do to the cloud, in one process: real logins over TLS to the AS, real
// registrations and direction requests over UDP to the NMS, each device from a source address and a socket of its own.
//
// The devices are general nodes of one adapter, whose enrolled key vouches for all of them: a login is the same work
// for the AS as that of any adapter in the field. Requests come at a steady rate whether earlier ones have been
// answered or not (an open loop), and every one is counted with its outcome: answered at the first try, answered after
// the client's own repetitions, or failed.
//
// The package must not know what the cloud is made of: it speaks to addresses and sees answers.
package load
