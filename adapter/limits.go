package adapter

import (
	"time"
)

const (
	// maxGeneralNodes is how many general nodes one adapter carries; more of the list are refused with a
	// status that says so.
	maxGeneralNodes = 4096
	// maxLogins is how many general nodes log in at once; the others wait their turn.
	maxLogins = 8
	// mailboxSize is how many events wait for one general node; DHCP questions above it are dropped (the
	// device repeats them), everything else waits.
	mailboxSize = 16
	// portGrace is how long a port may be without carrier before its device counts as gone.
	portGrace = 2 * time.Second
	// firstLease is how long a logged-in device may take to accept its address.
	firstLease = 2 * time.Minute
	// failedPause is how long a failed device is not looked at.
	failedPause = 10 * time.Second
	// reportInterval joins the changes of general nodes' states before they are told to the manager.
	reportInterval = 200 * time.Millisecond
	// maxReports is how many states are reported at once.
	maxReports = 4
	// lastReport bounds telling the manager that the general nodes are down when the adapter stops.
	lastReport = 2 * time.Second
	// saveDelay joins renewals of leases before they are written to disk.
	saveDelay = time.Second
	// watchIdle ends a watch on which nothing was heard; it is resumed where it was.
	watchIdle = 90 * time.Second
	// maxFollowBackoff keeps the pause before the manager is asked again within 4 s: what the operator changes
	// takes effect soon after an outage.
	maxFollowBackoff = 2
	// managerTimeout bounds one report.
	managerTimeout = 10 * time.Second
	// statusTimeout bounds reading the guard's counters for a status.
	statusTimeout = 5 * time.Second
	// maxListFile bounds the file of the general-node list, in bytes.
	maxListFile = 64 << 20
	// listFresh is how long a general-node list is good without the manager. Older ones are used too: the AS, which certificates for a day at most come
	// from, decides anew at each login of a general node. But the status, the log and a metric say how old it is.
	listFresh = 12 * time.Hour
	// listTouch is how old the time in the file may be while the manager confirms the list.
	listTouch = 10 * time.Minute
	// namesRetry is the pause before the resolver is started again after an error.
	namesRetry = 2 * time.Second
)

// Pushes of metrics. The manager has the same interval and bounds.
const (
	pushInterval = 15 * time.Second
	// pushStart bounds the time to the first one after the login.
	pushStart = 5 * time.Second
	// pushTimeout bounds one.
	pushTimeout = 10 * time.Second
	// maxPushSeries is how many series a manager takes of one adapter; series of general nodes above it are left out, those of the last names first.
	maxPushSeries = 2000
)
