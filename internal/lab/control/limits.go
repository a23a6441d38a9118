package control

import "time"

const (
	// startTimeout bounds how long etcd or a manager may take until it is ready.
	startTimeout = 30 * time.Second
	// pollInterval is how often something that is waited for is looked at.
	pollInterval = 50 * time.Millisecond
	// readinessInterval is how often the balancer asks a manager whether it is ready.
	readinessInterval = 200 * time.Millisecond
	// dialTimeout bounds a connection from the balancer to a manager.
	dialTimeout = time.Second
	// certificateLife is that of the certificates of a run.
	certificateLife = 24 * time.Hour
)
