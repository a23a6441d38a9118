package nms

import "time"

// Bounds of the NMS.
const (
	// maxLocations bounds the location table. When it is full, new devices are
	// not registered (drop reason table_full); those in it go on.
	maxLocations = 1 << 17

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

	// cookieWindow is the granularity of cookies: one is valid for one to two
	// windows. Twice the window must stay below locationTTL, so that a captured
	// registration with its cookie is worthless once its replay state is gone.
	cookieWindow = 20 * time.Second

	// peeringTTL is told to devices as the time for which a direction may be
	// used to begin a handshake, so that tunnels come back without the cloud.
	peeringTTL = 12 * time.Hour

	// relayTokenTTL is the life of a relay token and relayBytesPerSecond its
	// quota in each direction.
	relayTokenTTL       = 24 * time.Hour
	relayBytesPerSecond = 250_000_000

	// announceInterval is how often the server looks for a changed policy version,
	// announceBatch the number of devices that are told each time, and
	// announceAgain the least time between two such messages to one device.
	announceInterval = 100 * time.Millisecond
	announceBatch    = 4096
	announceAgain    = time.Second

	// expireInterval is how often the server looks for what has ended.
	expireInterval = time.Second
)
