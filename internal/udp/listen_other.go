//go:build !linux

package udp

// Listen opens one socket for both families; see listenPortable.
func Listen(o Options) (Conn, error) { return listenPortable(o) }
