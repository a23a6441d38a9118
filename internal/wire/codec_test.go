package wire

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// codec is one message with a full sample, for the properties that all messages share.
type codec struct {
	name   string
	sample []byte
	// recode decodes and encodes again.
	recode func([]byte) ([]byte, error)
	// tail: the last field takes what is left, so cutting it may give a valid shorter message.
	tail bool
	// padded: zero bytes may follow.
	padded bool
}

func recode[M any](parse func([]byte) (M, error), appendTo func(M, []byte) []byte) func([]byte) ([]byte, error) {
	return func(b []byte) ([]byte, error) {
		m, err := parse(b)
		if err != nil {
			return nil, err
		}
		return appendTo(m, nil), nil
	}
}

func recodeBody(b []byte) ([]byte, error) {
	m, err := ParseSignalBody(b)
	if err != nil {
		return nil, err
	}
	return PadBody(m.AppendBody(nil), len(b)), nil
}

func recodeControl(b []byte) ([]byte, error) {
	m, err := ParseControl(b)
	if err != nil {
		return nil, err
	}
	return m.AppendControl(nil), nil
}

func fill(n int, first byte) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}

var (
	sampleCandidates = []netip.AddrPort{
		netip.MustParseAddrPort("192.0.2.1:41641"), netip.MustParseAddrPort("[2001:db8::1]:41641"),
	}
	sampleDirection = Direction{
		PeerCertificate: fill(300, 1), PeerTag: 7, Candidates: sampleCandidates,
		Relay: Relay{
			IPv4: netip.MustParseAddrPort("198.51.100.9:7443"), IPv6: netip.MustParseAddrPort("[2001:db8::9]:7443"),
			Token: fill(120, 3), BindKey: [32]byte(fill(32, 9)),
		},
		Rules: []Rule{{Inbound: true, Protocol: 6, PortLow: 80, PortHigh: 80}, {Protocol: 1, PortHigh: 65535}},
		TTL:   30,
	}
	sampleLoginResponse = LoginResponse{
		Code: LoginOK, Message: "welcome", Certificate: fill(250, 1), Issuers: [][]byte{fill(113, 2), fill(113, 3)},
		Ticket: fill(200, 4), SessionKey: [32]byte(fill(32, 5)), NotAfter: 1800000000, ServerTime: 1790000000,
		NMSIPv4: netip.MustParseAddrPort("192.0.2.7:7442"), NMSIPv6: netip.MustParseAddrPort("[2001:db8::7]:7442"),
		FQDN: "cam1.example.internal", Domain: "example.internal", Network: "home",
		VirtualIPv4: netip.MustParseAddr("100.80.0.5"), VirtualIPv6: netip.MustParseAddr("fd00:80::5"),
		IPv4Prefix: netip.MustParsePrefix("100.80.0.0/16"), IPv6Prefix: netip.MustParsePrefix("fd00:80::/64"),
		ManagerURL: "https://manager.example:7440", ManagerToken: "cya1.abc",
	}
)

func codecs() []codec {
	body := func(name string, b SignalBody) codec {
		return codec{name: name, sample: b.AppendBody(nil), recode: recodeBody, padded: true}
	}
	control := func(name string, c Control) codec {
		return codec{name: name, sample: c.AppendControl(nil), recode: recodeControl}
	}
	login := func(name string, c Credential) codec {
		m := LoginRequest{
			Subject: Subject{Kind: SubjectNode, Name: "viewer"}, Static: [32]byte(fill(32, 1)),
			Signing: [32]byte(fill(32, 2)), Proof: [64]byte(fill(64, 3)), Credential: c,
		}
		return codec{name: name, sample: m.Append(nil), recode: recode(ParseLoginRequest, LoginRequest.Append)}
	}
	init := HandshakeInit{
		SenderIndex: 1, ReceiverTag: 2, Ephemeral: [32]byte(fill(32, 1)), EncStatic: [48]byte(fill(48, 2)),
		EncPayload: fill(300, 3), MAC1: [16]byte(fill(16, 4)), MAC2: [16]byte(fill(16, 5)),
	}
	response := HandshakeResponse{
		SenderIndex: 1, ReceiverIndex: 2, Ephemeral: [32]byte(fill(32, 1)), EncPayload: fill(300, 3), MAC1: [16]byte(fill(16, 4)),
	}
	cookie := CookieReply{ReceiverIndex: 1, Nonce: [24]byte(fill(24, 1)), EncCookie: [32]byte(fill(32, 2))}
	signal := Signal{ReceiverTag: 1, Counter: 2, Cookie: [16]byte(fill(16, 3)), Ticket: fill(200, 4), Ciphertext: fill(80, 5)}
	reply := SignalReply{ReceiverTag: 1, Nonce: [24]byte(fill(24, 3)), Ciphertext: fill(80, 5)}
	bind := RelayBind{Nonce: 1, Cookie: [16]byte(fill(16, 2)), Token: fill(120, 3), MAC: [16]byte(fill(16, 4))}
	return []codec{
		{name: "handshake init", sample: init.Append(nil), recode: recode(ParseHandshakeInit, HandshakeInit.Append)},
		{name: "handshake response", sample: response.Append(nil), recode: recode(ParseHandshakeResponse, HandshakeResponse.Append)},
		{name: "init payload", sample: InitPayload{Ciphers: []uint8{1, 2}, Certificate: fill(200, 1)}.Append(nil), recode: recode(ParseInitPayload, InitPayload.Append)},
		{name: "response payload", sample: ResponsePayload{Cipher: 2, Certificate: fill(200, 1)}.Append(nil), recode: recode(ParseResponsePayload, ResponsePayload.Append)},
		{name: "cookie reply", sample: cookie.Append(nil), recode: recode(ParseCookieReply, CookieReply.Append)},
		{name: "punch", sample: Punch{Nonce: 5}.Append(nil), recode: recode(ParsePunch, Punch.Append)},
		control("KEM key", &KEMKey{Key: [KEMKeySize]byte(fill(KEMKeySize, 1))}),
		control("KEM ciphertext", &KEMCiphertext{Ciphertext: [KEMCiphertextSize]byte(fill(KEMCiphertextSize, 1))}),
		control("probe", Probe{ID: 1}),
		control("probe reply", ProbeReply{ID: 1, Observed: sampleCandidates[1]}),
		control("keepalive", Keepalive{}),
		control("candidate update", CandidateUpdate{Candidates: sampleCandidates}),
		control("close", Close{Reason: ClosePolicy}),
		{name: "signal", sample: signal.Append(nil), recode: recode(ParseSignal, Signal.Append), tail: true},
		{name: "signal reply", sample: reply.Append(nil), recode: recode(ParseSignalReply, SignalReply.Append), tail: true},
		body("registration", Registration{Echo: 1, Flags: 2, Candidates: sampleCandidates, Certificate: fill(200, 1)}),
		body("registration ack", RegistrationAck{Echo: 1, Observed: sampleCandidates[0], NATed: true, TTL: 90, Keepalive: 25, Policy: 1 << 60}),
		body("challenge", Challenge{Echo: 1, Cookie: [16]byte(fill(16, 1))}),
		body("direction request by FQDN", DirectionRequest{RequestID: 1, Flags: DirectionRelayWanted, Target: Target{FQDN: "cam1.example.internal"}}),
		body("direction request for another relay", DirectionRequest{RequestID: 1, Flags: DirectionRelayWanted | DirectionRelayElse, Target: Target{FQDN: "cam1.example.internal"}}),
		body("direction request by IPv4", DirectionRequest{RequestID: 1, Target: Target{Addr: netip.MustParseAddr("100.80.0.9")}}),
		body("direction request by IPv6", DirectionRequest{RequestID: 1, Target: Target{Addr: netip.MustParseAddr("fd00::9")}}),
		body("direction failure", DirectionFailure{RequestID: 1, Code: FailureDenied}),
		body("confirmation", Confirmation{Echo: 1, DirectionID: 2, Direction: sampleDirection}),
		body("confirmation response", ConfirmationResponse{DirectionID: 1, Accept: true, Candidates: sampleCandidates}),
		body("route direction", RouteDirection{Echo: 1, DirectionID: 2, Initiator: true, Kind: RoutePunched, Direction: sampleDirection}),
		body("route direction without relay", RouteDirection{Kind: RouteDirect, Direction: Direction{PeerCertificate: fill(1, 1)}}),
		body("logout", Logout{Echo: 1}),
		{name: "relay bind", sample: bind.Append(nil), recode: recode(ParseRelayBind, RelayBind.Append)},
		{name: "relay challenge", sample: RelayChallenge{Nonce: 1, Cookie: [16]byte(fill(16, 2))}.Append(nil), recode: recode(ParseRelayChallenge, RelayChallenge.Append)},
		{name: "relay bound", sample: RelayBound{Nonce: 1, Channel: 2, TTL: 60, PeerBound: true, MAC: [16]byte(fill(16, 2))}.Append(nil), recode: recode(ParseRelayBound, RelayBound.Append)},
		{name: "relay error", sample: RelayError{Code: RelayErrorQuota, Nonce: 2, MAC: [16]byte(fill(16, 2))}.Append(nil), recode: recode(ParseRelayError, RelayError.Append)},
		{name: "relay error leaving", sample: RelayError{Code: RelayErrorLeaving, Nonce: 2, MAC: [16]byte(fill(16, 2))}.Append(nil), recode: recode(ParseRelayError, RelayError.Append)},
		{name: "relay data", sample: RelayData{Channel: 1, Datagram: Punch{Nonce: 1}.Append(nil)}.Append(nil), recode: recode(ParseRelayData, RelayData.Append), tail: true},
		login("login with token", CredentialToken{Token: "cye1.secret"}),
		login("login with password", CredentialPassword{Password: "correct horse"}),
		login("login with device key", CredentialDeviceKey{}),
		login("login by adapter", CredentialAdapter{Adapter: "gw1", Signing: [32]byte(fill(32, 4)), Proof: [64]byte(fill(64, 5)), Assurance: 1}),
		{name: "login response", sample: sampleLoginResponse.Append(nil), recode: recode(ParseLoginResponse, LoginResponse.Append)},
		{name: "login refusal", sample: LoginResponse{Code: LoginDenied, Message: "use a new token"}.Append(nil), recode: recode(ParseLoginResponse, LoginResponse.Append)},
	}
}

func TestSamplesSurviveDecodingAndEncoding(t *testing.T) {
	for _, c := range codecs() {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.recode(c.sample)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.sample, got); diff != "" {
				t.Fatal(diff)
			}
		})
	}
}

func TestEveryTruncationIsRefused(t *testing.T) {
	for _, c := range codecs() {
		t.Run(c.name, func(t *testing.T) {
			for n := range c.sample {
				got, err := c.recode(c.sample[:n])
				if err == nil && (!c.tail || !bytes.Equal(got, c.sample[:n])) {
					t.Fatalf("%d of %d bytes are accepted as %x", n, len(c.sample), got)
				}
			}
		})
	}
}

func TestTrailingBytesAreRefused(t *testing.T) {
	for _, c := range codecs() {
		if c.tail {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			if _, err := c.recode(append(bytes.Clone(c.sample), 1)); err == nil {
				t.Error("a byte too many is accepted")
			}
			_, err := c.recode(append(bytes.Clone(c.sample), 0))
			if (err == nil) != c.padded {
				t.Errorf("a zero byte too many: %v", err)
			}
		})
	}
}

// TestEveryBitFlipIsRefusedOrVisible flips each bit: the decoder refuses, or the value differs. No bit is ignored.
func TestEveryBitFlipIsRefusedOrVisible(t *testing.T) {
	for _, c := range codecs() {
		t.Run(c.name, func(t *testing.T) {
			for i := range c.sample {
				for bit := range 8 {
					b := bytes.Clone(c.sample)
					b[i] ^= 1 << bit
					got, err := c.recode(b)
					if err == nil && !bytes.Equal(got, b) {
						t.Fatalf("byte %d bit %d: accepted, but is encoded differently", i, bit)
					}
				}
			}
		})
	}
}

func TestHeadersAreChecked(t *testing.T) {
	headed := 0
	for _, c := range codecs() {
		if _, err := PeekType(c.sample); err != nil {
			continue // a body or payload
		}
		headed++
		t.Run(c.name, func(t *testing.T) {
			for _, row := range []struct {
				name   string
				change func(b []byte)
				want   error
			}{
				{"another type", func(b []byte) { b[0] = 0x7f }, ErrType},
				{"next version", func(b []byte) { b[1] = 0x20 }, ErrVersion},
				{"version zero", func(b []byte) { b[1] = 0 }, ErrVersion},
				{"flag set", func(b []byte) { b[1] |= 4 }, ErrReserved},
			} {
				b := bytes.Clone(c.sample)
				row.change(b)
				if _, err := c.recode(b); !errors.Is(err, row.want) {
					t.Errorf("%s: got %v, want %v", row.name, err, row.want)
				}
			}
		})
	}
	if headed < 13 {
		t.Fatalf("only %d messages have a header", headed)
	}
}

func TestPeekType(t *testing.T) {
	for _, row := range []struct {
		name string
		in   []byte
		want Type
		err  error
	}{
		{"empty", nil, 0, ErrShort},
		{"one byte", []byte{4}, 0, ErrShort},
		{"data", []byte{4, 0x10}, TypeData, nil},
		{"data with flags", []byte{4, 0x13}, TypeData, nil},
		{"login response", []byte{0x31, 0x10}, TypeLoginResponse, nil},
		{"unknown type", []byte{0x06, 0x10}, 0, ErrType},
		{"unknown type of a newer version", []byte{0x06, 0x20}, 0, ErrVersion},
		{"STUN binding request", []byte{0x00, 0x01, 0, 0}, 0, ErrVersion},
	} {
		t.Run(row.name, func(t *testing.T) {
			got, err := PeekType(row.in)
			if got != row.want || !errors.Is(err, row.err) {
				t.Errorf("got %v, %v, want %v, %v", got, err, row.want, row.err)
			}
		})
	}
}
