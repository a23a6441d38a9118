package node

const (
	defaultInterface = "utun"           // the system numbers it
	defaultResolver  = "127.0.0.1:5374" // macOS has no other loopback address without configuration
	defaultSocket    = "/var/run/cyphonic/node.sock"
)
