package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

func drawAddrPort(t *rapid.T) netip.AddrPort {
	port := rapid.Uint16().Draw(t, "port")
	if rapid.Bool().Draw(t, "is IPv4") {
		b := rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "IPv4")
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b)), port)
	}
	b := rapid.SliceOfN(rapid.Byte(), 16, 16).Draw(t, "IPv6")
	b[0] = 0x20 // never IPv4-mapped
	return netip.AddrPortFrom(netip.AddrFrom16([16]byte(b)), port)
}

func drawDirection(t *rapid.T) Direction {
	d := Direction{
		PeerCertificate: rapid.SliceOfN(rapid.Byte(), 1, MaxCertificate).Draw(t, "certificate"),
		PeerTag:         rapid.Uint32().Draw(t, "tag"),
		Candidates:      rapid.SliceOfN(rapid.Custom(drawAddrPort), 0, MaxCandidates).Draw(t, "candidates"),
		TTL:             rapid.Uint16().Draw(t, "TTL"),
	}
	for range rapid.IntRange(0, MaxRules).Draw(t, "rules") {
		low := rapid.Uint16().Draw(t, "low")
		d.Rules = append(d.Rules, Rule{
			Inbound: rapid.Bool().Draw(t, "inbound"), Protocol: rapid.Uint8().Draw(t, "protocol"),
			PortLow: low, PortHigh: rapid.Uint16Range(low, 65535).Draw(t, "high"),
		})
	}
	if rapid.Bool().Draw(t, "relay") {
		d.Relay.Token = rapid.SliceOfN(rapid.Byte(), 1, MaxRelayToken).Draw(t, "token")
		copy(d.Relay.BindKey[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "bind key"))
		if a := drawAddrPort(t); a.Addr().Is4() {
			d.Relay.IPv4 = a
		} else {
			d.Relay.IPv6 = a
		}
	}
	return d
}

var equal = cmp.Options{
	cmpopts.EquateComparable(netip.AddrPort{}, netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty(),
}

func TestRouteDirectionRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := RouteDirection{
			Echo: rapid.Uint64().Draw(t, "echo"), DirectionID: rapid.Uint64().Draw(t, "id"),
			Initiator: rapid.Bool().Draw(t, "initiator"), Kind: RouteKind(rapid.Uint8Range(1, 3).Draw(t, "kind")),
			Direction: drawDirection(t),
		}
		got, err := ParseSignalBody(PadBody(want.AppendBody(nil), 700))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(SignalBody(want), got, equal); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestRegistrationRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := Registration{
			Echo: rapid.Uint64().Draw(t, "echo"), Flags: rapid.Uint8().Draw(t, "flags"),
			Candidates:  rapid.SliceOfN(rapid.Custom(drawAddrPort), 0, MaxCandidates).Draw(t, "candidates"),
			Certificate: rapid.SliceOfN(rapid.Byte(), 0, MaxCertificate).Draw(t, "certificate"),
		}
		got, err := ParseSignalBody(want.AppendBody(nil))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(SignalBody(want), got, equal); diff != "" {
			t.Fatal(diff)
		}
	})
}

func TestLoginResponseRoundTrip(t *testing.T) {
	got, err := ParseLoginResponse(sampleLoginResponse.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(sampleLoginResponse, got, equal); diff != "" {
		t.Fatal(diff)
	}
}

func TestDataHeader(t *testing.T) {
	sample := append(AppendDataHeader(nil, FlagControl, 7, 9), make([]byte, 16)...)
	if h, err := ParseDataHeader(sample); err != nil || h != (DataHeader{FlagControl, 7, 9}) {
		t.Fatalf("got %+v, %v", h, err)
	}
	for _, row := range []struct {
		name   string
		change func(b []byte) []byte
		want   error
	}{
		{"no room for the tag", func(b []byte) []byte { return b[:31] }, ErrShort},
		{"empty", func([]byte) []byte { return nil }, ErrShort},
		{"unknown flag", func(b []byte) []byte { b[1] |= 4; return b }, ErrReserved},
		{"reserved byte", func(b []byte) []byte { b[3] = 1; return b }, ErrReserved},
		{"version", func(b []byte) []byte { b[1] = 0x21; return b }, ErrVersion},
		{"type", func(b []byte) []byte { b[0] = 5; return b }, ErrType},
	} {
		t.Run(row.name, func(t *testing.T) {
			if _, err := ParseDataHeader(row.change(bytes.Clone(sample))); !errors.Is(err, row.want) {
				t.Errorf("got %v, want %v", err, row.want)
			}
		})
	}
}

func TestAddressesThatAreRefused(t *testing.T) {
	mapped := netip.MustParseAddr("::ffff:127.0.0.1").As16()
	for _, row := range []struct {
		name string
		in   []byte
		want error
	}{
		{"IPv4-mapped", append(append([]byte{1, 6}, mapped[:]...), 0, 80), ErrAddress},
		{"unknown family", []byte{1, 5, 1, 2, 3, 4, 0, 80}, ErrAddress},
		{"absent in a list", []byte{1, 0}, ErrAddress},
		{"short IPv4", []byte{1, 4, 1, 2, 3}, ErrShort},
		{"no port", []byte{1, 4, 1, 2, 3, 4, 0}, ErrShort},
		{"nine candidates", append([]byte{9}, bytes.Repeat([]byte{4, 1, 2, 3, 4, 0, 80}, 9)...), ErrLength},
	} {
		t.Run(row.name, func(t *testing.T) {
			b := append([]byte{byte(controlCandidateUpdate)}, row.in...)
			if _, err := ParseControl(b); !errors.Is(err, row.want) {
				t.Errorf("got %v, want %v", err, row.want)
			}
		})
	}
}

func TestMappedAddressesAreWrittenAsIPv4(t *testing.T) {
	in := CandidateUpdate{Candidates: []netip.AddrPort{netip.MustParseAddrPort("[::ffff:192.0.2.1]:9")}}
	got, err := ParseControl(in.AppendControl(nil))
	if err != nil {
		t.Fatal(err)
	}
	if a := got.(CandidateUpdate).Candidates[0]; a != netip.MustParseAddrPort("192.0.2.1:9") {
		t.Errorf("got %s", a)
	}
}

func TestFieldsOutOfBoundsAreRefused(t *testing.T) {
	direction := func(change func(*Direction)) []byte {
		d := sampleDirection
		change(&d)
		return Confirmation{Direction: d}.AppendBody(nil)
	}
	for _, row := range []struct {
		name string
		in   []byte
		want error
	}{
		{"certificate too long", Registration{Certificate: fill(MaxCertificate+1, 0)}.AppendBody(nil), ErrLength},
		{"direction without certificate", direction(func(d *Direction) { d.PeerCertificate = nil }), ErrLength},
		{"33 rules", direction(func(d *Direction) { d.Rules = make([]Rule, 33) }), ErrLength},
		{"rule with ports reversed", direction(func(d *Direction) { d.Rules = []Rule{{PortLow: 2, PortHigh: 1}} }), ErrValue},
		{"relay token too long", direction(func(d *Direction) { d.Relay.Token = fill(MaxRelayToken+1, 0) }), ErrLength},
		{"relay IPv6 in the IPv4 field", direction(func(d *Direction) { d.Relay.IPv4 = d.Relay.IPv6 }), ErrAddress},
		{"failure code 0", DirectionFailure{}.AppendBody(nil), ErrValue},
		{"failure code 7", DirectionFailure{Code: 7}.AppendBody(nil), ErrValue},
		{"route kind 4", RouteDirection{Kind: 4, Direction: sampleDirection}.AppendBody(nil), ErrValue},
		{"accept is 2", []byte{7, 0, 0, 0, 0, 0, 0, 0, 1, 2, 0}, ErrValue},
		{"target FQDN empty", []byte{4, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 0}, ErrLength},
		{"target FQDN with a space", DirectionRequest{Target: Target{FQDN: "a b"}}.AppendBody(nil), ErrValue},
		{"target FQDN with a newline", DirectionRequest{Target: Target{FQDN: "a\nb"}}.AppendBody(nil), ErrValue},
		{"target absent", DirectionRequest{}.AppendBody(nil), ErrAddress},
		{"unknown request flag", DirectionRequest{Flags: 4, Target: Target{FQDN: "a"}}.AppendBody(nil), ErrReserved},
		{"another relay without relay wanted", DirectionRequest{Flags: DirectionRelayElse, Target: Target{FQDN: "a"}}.AppendBody(nil), ErrReserved},
		{"unknown body", []byte{99}, ErrType},
		{"no body", nil, ErrShort},
		{"padding alone", make([]byte, 20), ErrType},
		{"padding that is not zero", append(Logout{}.AppendBody(nil), 0, 0, 1), ErrReserved},
	} {
		t.Run(row.name, func(t *testing.T) {
			if _, err := ParseSignalBody(row.in); !errors.Is(err, row.want) {
				t.Errorf("got %v, want %v", err, row.want)
			}
		})
	}
}

func TestDatagramsOutOfBoundsAreRefused(t *testing.T) {
	for _, row := range []struct {
		name  string
		in    []byte
		parse func([]byte) error
		want  error
	}{
		{"signal beyond the datagram bound", Signal{Ticket: fill(9, 0), Ciphertext: fill(MaxDatagram, 0)}.Append(nil), parseError(ParseSignal), ErrLength},
		{"signal without ticket", Signal{Ciphertext: fill(60, 0)}.Append(nil), parseError(ParseSignal), ErrLength},
		{"signal with a long ticket", Signal{Ticket: fill(MaxTicket+1, 0), Ciphertext: fill(60, 0)}.Append(nil), parseError(ParseSignal), ErrLength},
		{"signal with an empty body", Signal{Ticket: fill(9, 0), Ciphertext: fill(16, 0)}.Append(nil), parseError(ParseSignal), ErrShort},
		{"reply beyond the datagram bound", SignalReply{Ciphertext: fill(MaxDatagram, 0)}.Append(nil), parseError(ParseSignalReply), ErrLength},
		{"bind without token", RelayBind{}.Append(nil), parseError(ParseRelayBind), ErrLength},
		{"bound without channel", RelayBound{}.Append(nil), parseError(ParseRelayBound), ErrValue},
		{"relay error code 0", RelayError{}.Append(nil), parseError(ParseRelayError), ErrValue},
		{"relay error of an unknown code", RelayError{Code: RelayErrorLeaving + 1}.Append(nil), parseError(ParseRelayError), ErrValue},
		{"relay data without channel", RelayData{Datagram: Punch{}.Append(nil)}.Append(nil), parseError(ParseRelayData), ErrValue},
		{"relay data in relay data", RelayData{Channel: 1, Datagram: RelayData{Channel: 1}.Append(nil)}.Append(nil), parseError(ParseRelayData), ErrType},
		{"relayed signal", RelayData{Channel: 1, Datagram: Signal{}.Append(nil)}.Append(nil), parseError(ParseRelayData), ErrType},
		{"relay data without datagram", AppendRelayHeader(nil, 1), parseError(ParseRelayData), ErrShort},
		{"init payload without cipher", InitPayload{Certificate: fill(9, 0)}.Append(nil), parseError(ParseInitPayload), ErrLength},
		{"init payload without certificate", InitPayload{Ciphers: []uint8{1}}.Append(nil), parseError(ParseInitPayload), ErrLength},
		{"response payload without certificate", ResponsePayload{Cipher: 1}.Append(nil), parseError(ParseResponsePayload), ErrLength},
		{"init with payload shorter than a tag", HandshakeInit{EncPayload: fill(15, 0)}.Append(nil), parseError(ParseHandshakeInit), ErrLength},
		{"response with payload too long", HandshakeResponse{EncPayload: fill(600, 0)}.Append(nil), parseError(ParseHandshakeResponse), ErrLength},
		{"login of an unknown kind", LoginRequest{Subject: Subject{Kind: 4, Name: "a"}, Credential: CredentialDeviceKey{}}.Append(nil), parseError(ParseLoginRequest), ErrValue},
		{"login without name", LoginRequest{Subject: Subject{Kind: 1}, Credential: CredentialDeviceKey{}}.Append(nil), parseError(ParseLoginRequest), ErrLength},
		{"login with an empty password", LoginRequest{Subject: Subject{Kind: 1, Name: "a"}, Credential: CredentialPassword{}}.Append(nil), parseError(ParseLoginRequest), ErrLength},
		{"login with assurance 5", LoginRequest{Subject: Subject{Kind: 3, Name: "a"}, Credential: CredentialAdapter{Adapter: "b", Assurance: 5}}.Append(nil), parseError(ParseLoginRequest), ErrValue},
		{"login response with IPv4 as virtual IPv6", LoginResponse{VirtualIPv6: netip.MustParseAddr("1.2.3.4")}.Append(nil), parseError(ParseLoginResponse), ErrAddress},
		{"login response with host bits in the prefix", LoginResponse{IPv4Prefix: netip.MustParsePrefix("10.0.0.1/8")}.Append(nil), parseError(ParseLoginResponse), ErrAddress},
		{"login response with a control character", LoginResponse{Message: "a\x1b[2J"}.Append(nil), parseError(ParseLoginResponse), ErrValue},
	} {
		t.Run(row.name, func(t *testing.T) {
			if err := row.parse(row.in); !errors.Is(err, row.want) {
				t.Errorf("got %v, want %v", err, row.want)
			}
		})
	}
}

func parseError[M any](parse func([]byte) (M, error)) func([]byte) error {
	return func(b []byte) error {
		_, err := parse(b)
		return err
	}
}

func TestHandshakeInitIsAtLeastAsLargeAsAnyAnswer(t *testing.T) {
	smallest := HandshakeInit{EncPayload: fill(tagSize, 0)}.Append(nil)
	largest := HandshakeResponse{EncPayload: fill(maxEncRespPayload, 0)}.Append(nil)
	if len(smallest) < len(largest) || len(smallest) < CookieReplySize {
		t.Errorf("HandshakeInit can have %d bytes, HandshakeResponse %d", len(smallest), len(largest))
	}
	full := HandshakeInit{EncPayload: fill(maxEncInitPayload, 0)}.Append(nil)
	if len(full) > MaxHandshakeInit || len(full) > MaxDatagram {
		t.Errorf("HandshakeInit can have %d bytes", len(full))
	}
	if n := DataOverhead + len((&KEMKey{}).AppendControl(nil)); n > MaxDatagram {
		t.Errorf("the datagram with the KEM key has %d bytes", n)
	}
}

func TestRelayBindIsLargerThanItsAnswers(t *testing.T) {
	n := len(RelayBind{Token: []byte{1}}.Append(nil))
	for _, answer := range [][]byte{RelayChallenge{}.Append(nil), RelayBound{}.Append(nil), RelayError{}.Append(nil)} {
		if n < len(answer) {
			t.Errorf("RelayBind can have %d bytes, an answer %d", n, len(answer))
		}
	}
}

func TestRelayMACCoversEveryByte(t *testing.T) {
	key := [32]byte(fill(32, 1))
	b := RelayBind{Nonce: 1, Token: fill(20, 2)}.Append(nil)
	SignRelay(b, key)
	if !VerifyRelay(b, key) {
		t.Fatal("own MAC does not verify")
	}
	if VerifyRelay(b, [32]byte{}) || VerifyRelay(nil, key) || VerifyRelay(b[:15], key) {
		t.Error("wrong key or short input verifies")
	}
	for i := range b {
		b[i] ^= 0x10
		if VerifyRelay(b, key) {
			t.Errorf("byte %d is not covered", i)
		}
		b[i] ^= 0x10
	}
}

func TestSecretsAreRedacted(t *testing.T) {
	const secret = "do-not-print-me"
	for _, v := range []any{
		CredentialToken{Token: secret},
		CredentialPassword{Password: secret},
		LoginResponse{ManagerToken: secret},
		Relay{Token: []byte(secret)},
		LoginRequest{Credential: CredentialPassword{Password: secret}},
	} {
		j, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{fmt.Sprint(v), fmt.Sprintf("%+v", v), fmt.Sprintf("%#v", v), string(j)} {
			if strings.Contains(s, secret) || strings.Contains(s, "100, 111, 45") {
				t.Errorf("%T prints its secret: %s", v, s)
			}
		}
	}
}

func TestRelayDataCostsNoAllocation(t *testing.T) {
	b := RelayData{Channel: 1, Datagram: make([]byte, 1400)}
	copy(b.Datagram, AppendDataHeader(nil, 0, 1, 1))
	in, out := b.Append(nil), make([]byte, 0, 1500)
	if n := testing.AllocsPerRun(100, func() {
		m, err := ParseRelayData(in)
		if err != nil {
			t.Fatal(err)
		}
		out = AppendRelayHeader(out[:0], m.Channel+1)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
