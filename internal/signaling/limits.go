package signaling

import "time"

const (
	// MaxRequests bounds the direction requests waiting for their answer;
	// further ones are refused with ErrBusy.
	MaxRequests = 256
	// maxDirections bounds the remembered directions, in which repetitions are
	// recognised; the one nearest its end is forgotten for a new one.
	maxDirections = 512
	// maxReplicas bounds the NMS replicas whose nonces are remembered; the one
	// heard longest ago is forgotten for a new one.
	maxReplicas = 16
	// maxNonces bounds the remembered nonces of a replica; those below the
	// smallest remembered one count as seen.
	maxNonces = 128
	// echoes is the number of latest registrations to which the NMS may refer.
	echoes = 3
	// maxChallenges bounds the immediate answers to challenges between two ticks.
	maxChallenges = 4
)

const (
	// minRequestBody is the least length in bytes of a body sent to the NMS:
	// that of the largest immediate answer (RegistrationAck with an IPv6
	// address), so that no request is smaller than its answer.
	minRequestBody = 64

	// registrationRetry is the time to the first repetition of a registration;
	// it doubles with each one up to registrationRetryMax.
	registrationRetry    = 500 * time.Millisecond
	registrationRetryMax = 15 * time.Second
	// unansweredTries is the number of registrations after which Unanswered is
	// reported, about 16 s; unansweredFactor is by how much it grows each time.
	unansweredTries  = 6
	unansweredFactor = 4
	// serverTries is the number of unanswered registrations after which the
	// other address of the NMS is tried.
	serverTries = 3
	// The NMS names the time to the next keep-alive; it is taken within these bounds.
	keepaliveMin = 5 * time.Second
	keepaliveMax = 60 * time.Second
	// lifetimeMin is the least life of a location that is believed.
	lifetimeMin = 10 * time.Second

	// requestRetry is the time to the first repetition of a direction request;
	// it doubles with each one.
	requestRetry = 300 * time.Millisecond
	// busyRetry is the time to the repetition after the NMS said it is busy.
	busyRetry = time.Second
	// RequestLifetime is how long a direction request is repeated.
	RequestLifetime = 6 * time.Second
	// answerRetry is the time to the first repetition of an accepting answer that no
	// route direction follows; it doubles with each of the answerRetries.
	answerRetry   = 500 * time.Millisecond
	answerRetries = 3
	// directionLifetime is how long repetitions of a direction are recognised.
	directionLifetime = 60 * time.Second
)
