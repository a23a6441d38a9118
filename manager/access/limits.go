package access

import "time"

const (
	// maxSources bounds the source addresses of which failures are remembered; the quietest of a few is forgotten for a new one.
	maxSources = 8192
	// forgetSample is how many sources are compared to find one to forget.
	forgetSample = 16
	// failureBurst is how many failures a source may have at once; over it the answer is 429.
	failureBurst = 20
	// failureInterval is how long it takes until a source may fail once more.
	failureInterval = 3 * time.Second
	// maxCredential bounds the bytes of a bearer token; longer ones are wrong.
	maxCredential = 12 << 10
	// maxName bounds the bytes of a user's or group's name, and of a certificate's; longer ones are refused.
	maxName = 240
	// maxGroups bounds the groups of a user; a token with more is refused, because leaving some out would be a wrong answer.
	maxGroups = 256
	// keyringAge is how long the keys of access tokens are used before they are read again. New keys become active later than that.
	keyringAge = 5 * time.Second
	// keyringRetry is how long the keys are used on when the store did not answer, before it is asked again.
	keyringRetry = time.Second
	// freshTimeout bounds the wait for the cache when a token or a right is not in it.
	freshTimeout = 2 * time.Second
	// providerTimeout bounds one look at the OpenID provider: its configuration and its keys.
	providerTimeout = 5 * time.Second
	// providerAge is how long the provider's keys are used before they are read again.
	providerAge = 10 * time.Minute
	// providerRetry is the least time between two looks at the provider, whatever tokens arrive.
	providerRetry = 10 * time.Second
	// providerGrace is how long the keys are used on while the provider does not answer.
	providerGrace = 24 * time.Hour
	// maxRedirects bounds the redirects that the provider may send.
	maxRedirects = 3
	// maxSkew is how far the provider's clock may be ahead.
	maxSkew = 5 * time.Minute
	// maxProviderBytes bounds an answer of the provider.
	maxProviderBytes = 1 << 20
	// maxProviderKeys bounds the keys of the provider; more are refused.
	maxProviderKeys = 64
)
