//go:build !darwin

package node

const (
	defaultInterface = "cyphonic0"
	defaultResolver  = "127.74.40.1:53"
	defaultSocket    = "/run/cyphonic/node.sock"
)
