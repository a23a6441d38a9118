package nms

import "time"

// Bounds of the NMS.
const (
	// maxLocations bounds the location table: two thirds of a million devices, what
	// each of three replicas has of a million, and room for those of another one.
	// A location takes up to 1.8 KB, so a full table 1.8 GiB. When it is full, new
	// devices are not registered (drop reason table_full); those in it go on.
	maxLocations = 1 << 20

	// maxDirections bounds the directions under way; beyond it requests are
	// answered "busy". A device may have maxDirectionsPerDevice of them.
	maxDirections          = 1 << 16
	maxDirectionsPerDevice = 256

	// maxLogins is the number of tickets of one device that are followed at
	// once; older tickets are refused.
	maxLogins = 4

	// requestsPerSecond and requestBurst bound the direction requests of one
	// device; beyond them requests are answered "busy".
	requestsPerSecond = 50
	requestBurst      = 200

	// locationTTL is how long a location is kept after the last registration,
	// keepaliveInterval when the device is told to register again.
	locationTTL       = 90 * time.Second
	keepaliveInterval = 25 * time.Second

	// directionTTL is how long a direction that is under way, or was given,
	// answers retransmissions.
	directionTTL = 5 * time.Second

	// cookieTTL is how long a cookie counts. It must stay below locationTTL, so
	// that a captured registration with its cookie is worthless once its replay
	// state is gone. cookieSkew is by how much the clock of the replica that made
	// a cookie may be ahead.
	cookieTTL  = 40 * time.Second
	cookieSkew = 5 * time.Second

	// challengeAgain is the least time between two challenges to a device at its
	// known address. A device answers few of them, and all that it has under way
	// would get one.
	challengeAgain = 150 * time.Millisecond

	// peeringTTL is told to devices as the time for which a direction may be
	// used to begin a handshake, so that tunnels come back without the cloud.
	peeringTTL = 12 * time.Hour

	// relayTokenTTL is the life of a relay token and relayBytesPerSecond its
	// quota in each direction.
	relayTokenTTL       = 24 * time.Hour
	relayBytesPerSecond = 250_000_000

	// announceInterval is how often the server looks for a changed policy version,
	// announceScan at how many locations it looks each time, announceBatch the
	// number of devices that are told each time, and announceAgain the least time
	// between two such messages to one device.
	announceInterval = 100 * time.Millisecond
	announceScan     = 16_384
	announceBatch    = 4096
	announceAgain    = time.Second

	// expireInterval is how often the server looks for what has ended, expireBatch
	// at how many locations each time: at all of a full table in 13 s.
	expireInterval = 100 * time.Millisecond
	expireBatch    = 8192

	// maxPeers bounds the other replicas that one talks to; those beyond it, by
	// name, are not linked.
	maxPeers = 256
	// owners is how many replicas of the highest rendezvous hash may own a
	// location: the first one that answers acts, the next one has a copy.
	// Owners are on different hosts if there are some among the first candidates.
	owners     = 3
	candidates = 8
	// maxHops is how often a datagram is forwarded while replicas see different
	// members; then it is handled where it is.
	maxHops = 3

	// tickInterval is how often a core with peers must hear the time. Between
	// events further apart than pauseLimit the process has been stopped: others
	// may have acted for it.
	tickInterval = 5 * time.Millisecond
	pauseLimit   = 250 * time.Millisecond

	// hedgeAfter is how long a datagram waits for its acknowledgement by another
	// replica before the next one gets it, at most maxTries times.
	hedgeAfter = 20 * time.Millisecond
	maxTries   = 3
	// maxUnacknowledged bounds the datagrams that wait so for one replica; beyond
	// it the next one gets them at once.
	maxUnacknowledged = 4096

	// pingInterval is how often each peer hears of this replica at least, and
	// peerSilence after how long without a word a peer counts as gone.
	pingInterval = 200 * time.Millisecond
	peerSilence  = 750 * time.Millisecond

	// fetchTimeout bounds the wait for other replicas' answers about a location,
	// lookupHedge the wait for a better one than is there.
	fetchTimeout = 100 * time.Millisecond
	lookupHedge  = 20 * time.Millisecond
	// maxFetches bounds the questions under way and maxParked the requests that
	// wait for the answer to one of them; beyond it requests are dropped, and
	// repeated by the devices.
	maxFetches = 8192
	maxParked  = 16

	// linkPatience is how long a starting replica waits for links with the ready
	// ones before it serves without.
	linkPatience = 3 * time.Second

	// pushBatch is how many locations are looked at in one step when owners have
	// changed; the next step follows when the peers have acknowledged it.
	pushBatch = 512
)
