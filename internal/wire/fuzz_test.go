package wire

import (
	"bytes"
	"testing"
)

// fuzzCodec seeds with the named samples and checks that what is accepted is encoded to the same bytes.
func fuzzCodec(f *testing.F, names ...string) {
	var use func([]byte) ([]byte, error)
	for _, c := range codecs() {
		for _, name := range names {
			if c.name == name {
				f.Add(c.sample)
				f.Add(c.sample[:len(c.sample)/2])
				use = c.recode
			}
		}
	}
	if use == nil {
		f.Fatalf("no sample is named %q", names)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		in := bytes.Clone(b)
		got, err := use(b)
		if !bytes.Equal(in, b) {
			t.Fatal("the input was changed")
		}
		if err == nil && !bytes.Equal(got, b) {
			t.Fatalf("accepted %x, encoded %x", b, got)
		}
	})
}

func FuzzHandshakeInit(f *testing.F)     { fuzzCodec(f, "handshake init") }
func FuzzHandshakeResponse(f *testing.F) { fuzzCodec(f, "handshake response") }
func FuzzInitPayload(f *testing.F)       { fuzzCodec(f, "init payload") }
func FuzzResponsePayload(f *testing.F)   { fuzzCodec(f, "response payload") }
func FuzzCookieReply(f *testing.F)       { fuzzCodec(f, "cookie reply") }
func FuzzPunch(f *testing.F)             { fuzzCodec(f, "punch") }
func FuzzSignal(f *testing.F)            { fuzzCodec(f, "signal") }
func FuzzSignalReply(f *testing.F)       { fuzzCodec(f, "signal reply") }
func FuzzRelayBind(f *testing.F)         { fuzzCodec(f, "relay bind") }
func FuzzRelayChallenge(f *testing.F)    { fuzzCodec(f, "relay challenge") }
func FuzzRelayBound(f *testing.F)        { fuzzCodec(f, "relay bound") }
func FuzzRelayError(f *testing.F)        { fuzzCodec(f, "relay error", "relay error leaving") }
func FuzzRelayData(f *testing.F)         { fuzzCodec(f, "relay data") }
func FuzzLoginResponse(f *testing.F)     { fuzzCodec(f, "login response", "login refusal") }

func FuzzControl(f *testing.F) {
	fuzzCodec(f, "KEM key", "KEM ciphertext", "probe", "probe reply", "keepalive", "candidate update", "close")
}

func FuzzSignalBody(f *testing.F) {
	fuzzCodec(f, "registration", "registration ack", "challenge", "direction request by FQDN", "direction request for another relay", "direction request by IPv4",
		"direction request by IPv6", "direction failure", "confirmation", "confirmation response", "route direction",
		"route direction without relay", "logout")
}

func FuzzLoginRequest(f *testing.F) {
	fuzzCodec(f, "login with token", "login with password", "login with device key", "login by adapter")
}

func FuzzDataHeader(f *testing.F) {
	f.Add(append(AppendDataHeader(nil, FlagControl, 7, 9), make([]byte, 16)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := ParseDataHeader(b)
		if err == nil && !bytes.Equal(AppendDataHeader(nil, h.Flags, h.ReceiverIndex, h.Counter), b[:DataHeaderSize]) {
			t.Fatalf("accepted %x as %+v", b[:DataHeaderSize], h)
		}
	})
}

func FuzzPeekType(f *testing.F) {
	f.Add([]byte{4, 0x10})
	f.Fuzz(func(t *testing.T, b []byte) {
		if got, err := PeekType(b); err == nil && (byte(got) != b[0] || b[1]>>4 != Version) {
			t.Fatalf("%x is a %v", b[:2], got)
		}
	})
}
