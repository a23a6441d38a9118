package wire

// Bounds of variable parts, in bytes or elements. Decoders refuse what exceeds them with ErrLength.
const (
	// MaxDatagram bounds signalling and handshake datagrams: what is left of the IPv6 minimum MTU of
	// 1280 bytes (RFC 8200, section 5) after the IPv6 and UDP headers. Data datagrams may be larger.
	MaxDatagram = 1232

	MaxCandidates  = 8
	MaxRules       = 32
	MaxCertificate = 512
	MaxTicket      = 512
	MaxRelayToken  = 192
	MaxName        = 253 // an FQDN in text form without the final dot (RFC 1035, section 2.3.4)

	// MaxCiphers bounds the initiator's offer.
	MaxCiphers = 8

	MaxLoginMessage   = 8192 // one framed login message
	MaxToken          = 512  // enrolment and access tokens
	MaxPassword       = 512
	MaxIssuers        = 8
	MaxIssuer         = 256 // one issuer certificate
	MaxLoginText      = 512 // LoginResponse.Message
	MaxURL            = 512
	tagSize           = 16 // of every AEAD and MAC in use
	maxInitPayload    = 1 + MaxCiphers + 2 + MaxCertificate
	maxResponsePlain  = 1 + 2 + MaxCertificate
	maxEncInitPayload = maxInitPayload + tagSize
	maxEncRespPayload = maxResponsePlain + tagSize
)
