package lan

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
)

func exampleLease(t testing.TB) Lease {
	t.Helper()
	n, err := NewNetwork(netip.MustParsePrefix("10.77.0.0/16"), "lab.example")
	if err != nil {
		t.Fatal(err)
	}
	return Lease{IPv4: netip.MustParseAddr("10.77.0.11"), Network: n, Duration: 10 * time.Minute, MTU: 1400}
}

// request builds a client's message of cam1.
func request(t testing.TB, kind dhcpv4.MessageType, modifiers ...dhcpv4.Modifier) *dhcpv4.DHCPv4 {
	t.Helper()
	m, err := dhcpv4.New(append([]dhcpv4.Modifier{
		dhcpv4.WithMessageType(kind), dhcpv4.WithHwAddr(cam1[:]),
	}, modifiers...)...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func wants(ip string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptRequestedIPAddress(net.ParseIP(ip)))
}

func server(ip string) dhcpv4.Modifier {
	return dhcpv4.WithOption(dhcpv4.OptServerIdentifier(net.ParseIP(ip)))
}

func TestRespond(t *testing.T) {
	const none = dhcpv4.MessageTypeNone
	tests := map[string]struct {
		kind      dhcpv4.MessageType
		modifiers []dhcpv4.Modifier
		reply     dhcpv4.MessageType
		event     Event
		to        string // empty: broadcast
	}{
		"discover is offered":                  {dhcpv4.MessageTypeDiscover, nil, dhcpv4.MessageTypeOffer, EventNone, "10.77.0.11"},
		"discover with the broadcast flag":     {dhcpv4.MessageTypeDiscover, []dhcpv4.Modifier{dhcpv4.WithBroadcast(true)}, dhcpv4.MessageTypeOffer, EventNone, ""},
		"discover that wants another address":  {dhcpv4.MessageTypeDiscover, []dhcpv4.Modifier{wants("192.168.1.9")}, dhcpv4.MessageTypeOffer, EventNone, "10.77.0.11"},
		"selecting":                            {dhcpv4.MessageTypeRequest, []dhcpv4.Modifier{wants("10.77.0.11"), server("10.77.0.1")}, dhcpv4.MessageTypeAck, EventLeased, "10.77.0.11"},
		"selecting another server":             {dhcpv4.MessageTypeRequest, []dhcpv4.Modifier{wants("10.77.0.11"), server("10.77.0.66")}, none, EventNone, ""},
		"selecting a foreign address":          {dhcpv4.MessageTypeRequest, []dhcpv4.Modifier{wants("10.77.0.12"), server("10.77.0.1")}, dhcpv4.MessageTypeNak, EventNone, ""},
		"rebooting with the same address":      {dhcpv4.MessageTypeRequest, []dhcpv4.Modifier{wants("10.77.0.11")}, dhcpv4.MessageTypeAck, EventLeased, "10.77.0.11"},
		"rebooting from another network":       {dhcpv4.MessageTypeRequest, []dhcpv4.Modifier{wants("192.168.1.9")}, dhcpv4.MessageTypeNak, EventNone, ""},
		"renewing or rebinding":                {dhcpv4.MessageTypeRequest, []dhcpv4.Modifier{dhcpv4.WithClientIP(net.ParseIP("10.77.0.11"))}, dhcpv4.MessageTypeAck, EventLeased, "10.77.0.11"},
		"renewing a foreign address":           {dhcpv4.MessageTypeRequest, []dhcpv4.Modifier{dhcpv4.WithClientIP(net.ParseIP("10.77.0.12"))}, dhcpv4.MessageTypeNak, EventNone, ""},
		"requesting nothing":                   {dhcpv4.MessageTypeRequest, nil, dhcpv4.MessageTypeNak, EventNone, ""},
		"releasing":                            {dhcpv4.MessageTypeRelease, []dhcpv4.Modifier{dhcpv4.WithClientIP(net.ParseIP("10.77.0.11"))}, none, EventReleased, ""},
		"releasing what it does not have":      {dhcpv4.MessageTypeRelease, []dhcpv4.Modifier{dhcpv4.WithClientIP(net.ParseIP("10.77.0.12"))}, none, EventNone, ""},
		"declining":                            {dhcpv4.MessageTypeDecline, []dhcpv4.Modifier{wants("10.77.0.11"), server("10.77.0.1")}, none, EventDeclined, ""},
		"declining what it was never offered":  {dhcpv4.MessageTypeDecline, []dhcpv4.Modifier{wants("10.77.0.12")}, none, EventNone, ""},
		"informing itself":                     {dhcpv4.MessageTypeInform, []dhcpv4.Modifier{dhcpv4.WithClientIP(net.ParseIP("10.77.0.11"))}, dhcpv4.MessageTypeAck, EventNone, "10.77.0.11"},
		"informing itself about somebody else": {dhcpv4.MessageTypeInform, []dhcpv4.Modifier{dhcpv4.WithClientIP(net.ParseIP("10.77.0.12"))}, none, EventNone, ""},
		"a server's message":                   {dhcpv4.MessageTypeOffer, nil, none, EventNone, ""},
		"no message type (BOOTP)":              {none, nil, none, EventNone, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			m := request(t, test.kind, test.modifiers...)
			reply, event := respond(m, exampleLease(t))
			if event != test.event {
				t.Errorf("event = %v, want %v", event, test.event)
			}
			if test.reply == none {
				if reply != nil {
					t.Fatalf("answered %v, want silence", reply.MessageType())
				}
				return
			}
			if reply == nil {
				t.Fatalf("silence, want %v", test.reply)
			}
			if reply.MessageType() != test.reply || reply.TransactionID != m.TransactionID {
				t.Errorf("reply = %v", reply.Summary())
			}
			to := destination(m, reply)
			if want, _ := netip.ParseAddr(test.to); to != want {
				t.Errorf("goes to %v, want %v", to, want)
			}
		})
	}
}

func TestOfferTellsEverythingADeviceNeeds(t *testing.T) {
	reply, _ := respond(request(t, dhcpv4.MessageTypeDiscover), exampleLease(t))
	parsed, err := dhcpv4.FromBytes(reply.ToBytes())
	if err != nil {
		t.Fatal(err)
	}
	mtu, err := dhcpv4.GetUint16(dhcpv4.OptionInterfaceMTU, parsed.Options)
	if err != nil || mtu != 1400 {
		t.Errorf("MTU = %d, %v", mtu, err)
	}
	for what, equal := range map[string]bool{
		"address":  parsed.YourIPAddr.String() == "10.77.0.11",
		"mask":     net.IP(parsed.SubnetMask()).String() == "255.255.0.0",
		"router":   parsed.Router()[0].String() == "10.77.0.1",
		"DNS":      parsed.DNS()[0].String() == "10.77.0.1",
		"domain":   parsed.DomainName() == "lab.example",
		"lease":    parsed.IPAddressLeaseTime(0) == 10*time.Minute,
		"renewal":  parsed.IPAddressRenewalTime(0) == 5*time.Minute,
		"rebind":   parsed.IPAddressRebindingTime(0) == 525*time.Second,
		"server":   parsed.ServerIdentifier().String() == "10.77.0.1",
		"hardware": bytes.Equal(parsed.ClientHWAddr, cam1[:]),
	} {
		if !equal {
			t.Errorf("%s is wrong in %s", what, parsed.Summary())
		}
	}
}

func TestInformAnswerHasNoAddressAndNoTimes(t *testing.T) {
	reply, _ := respond(request(t, dhcpv4.MessageTypeInform, dhcpv4.WithClientIP(net.ParseIP("10.77.0.11"))), exampleLease(t))
	if address(reply.YourIPAddr).IsValid() || reply.IPAddressLeaseTime(0) != 0 {
		t.Errorf("reply = %s", reply.Summary())
	}
}

func TestForeignMessagesAreRefused(t *testing.T) {
	relayed := request(t, dhcpv4.MessageTypeDiscover, dhcpv4.WithGatewayIP(net.ParseIP("10.0.0.1")))
	reply := request(t, dhcpv4.MessageTypeOffer)
	reply.OpCode = dhcpv4.OpcodeBootReply
	long := request(t, dhcpv4.MessageTypeDiscover)
	long.ClientHWAddr = append(bytes.Clone(cam1[:]), 1, 2)
	for name, b := range map[string][]byte{
		"relayed": relayed.ToBytes(), "a reply": reply.ToBytes(), "other hardware": long.ToBytes(),
		"empty": {}, "cut": relayed.ToBytes()[:100],
	} {
		if _, err := parseRequest(b, cam1); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	good := request(t, dhcpv4.MessageTypeDiscover).ToBytes()
	if _, err := parseRequest(good, cam1); err != nil {
		t.Error(err)
	}
	if _, err := parseRequest(good, cam2); err == nil {
		t.Error("a message for cam1 out of cam2's frame was accepted")
	}
}

// fakeLink records replies.
type fakeLink struct{ sent []*dhcpv4.DHCPv4 }

func (l *fakeLink) receive([]byte) (int, MAC, error) { return 0, MAC{}, net.ErrClosed }
func (l *fakeLink) close()                           {}
func (l *fakeLink) send(_ netip.Addr, b []byte) error {
	m, err := dhcpv4.FromBytes(b)
	l.sent = append(l.sent, m)
	return err
}

func TestTheOfferWaitsForTheLogin(t *testing.T) {
	link := &fakeLink{}
	loggedIn := false
	var events []Event
	s := newDHCPServer(DHCPOptions{
		Ask:   func(MAC) (Lease, bool) { return exampleLease(t), loggedIn },
		Event: func(_ MAC, e Event) { events = append(events, e) },
		Log:   slog.New(slog.NewTextHandler(io.Discard, nil)),
	}, link)
	first, second := request(t, dhcpv4.MessageTypeDiscover), request(t, dhcpv4.MessageTypeDiscover)
	s.handle(time.Now(), first.ToBytes(), cam1)
	s.handle(time.Now(), second.ToBytes(), cam1)
	if len(link.sent) != 0 {
		t.Fatal("answered before the login")
	}
	loggedIn = true
	s.Ready(cam1, exampleLease(t))
	s.Ready(cam1, exampleLease(t))
	if len(link.sent) != 1 || link.sent[0].TransactionID != second.TransactionID {
		t.Fatalf("%d answers, want one to the latest question", len(link.sent))
	}
	s.handle(time.Now(), request(t, dhcpv4.MessageTypeRequest, wants("10.77.0.11")).ToBytes(), cam1)
	if len(link.sent) != 2 || len(events) != 1 || events[0] != EventLeased {
		t.Errorf("%d answers, events %v", len(link.sent), events)
	}
}

func TestAnOldQuestionIsNotAnswered(t *testing.T) {
	link := &fakeLink{}
	s := newDHCPServer(DHCPOptions{
		Ask: func(MAC) (Lease, bool) { return Lease{}, false },
		Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}, link)
	s.handle(time.Now().Add(-heldTimeout-time.Second), request(t, dhcpv4.MessageTypeDiscover).ToBytes(), cam1)
	s.Ready(cam1, exampleLease(t))
	if len(link.sent) != 0 {
		t.Error("an old question was answered")
	}
}

func TestHeldQuestionsAreBounded(t *testing.T) {
	s := newDHCPServer(DHCPOptions{}, &fakeLink{})
	for i := range maxHeld + 100 {
		s.hold(time.Now(), MAC{2, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)}, &dhcpv4.DHCPv4{})
	}
	if len(s.held) != maxHeld {
		t.Errorf("%d held, want %d", len(s.held), maxHeld)
	}
}

func ipv4UDP(payload []byte) []byte {
	b := make([]byte, 28, 28+len(payload))
	b[0], b[9] = 0x45, 17
	total := 28 + len(payload)
	b[2], b[3] = byte(total>>8), byte(total)
	b[21], b[23] = dhcpClientPort, dhcpServerPort
	b[24], b[25] = byte((total-20)>>8), byte(total-20)
	return append(b, payload...)
}

func FuzzDHCP(f *testing.F) {
	for _, kind := range []dhcpv4.MessageType{dhcpv4.MessageTypeDiscover, dhcpv4.MessageTypeRequest, dhcpv4.MessageTypeDecline, dhcpv4.MessageTypeInform} {
		f.Add(ipv4UDP(request(f, kind, wants("10.77.0.11")).ToBytes()))
	}
	f.Add([]byte{0x45})
	lease := exampleLease(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		payload, ok := udpPayload(b)
		if !ok {
			return
		}
		m, err := parseRequest(payload, cam1)
		if err != nil {
			return
		}
		reply, _ := respond(m, lease)
		if reply == nil {
			return
		}
		if a := address(reply.YourIPAddr); a.IsValid() && a != lease.IPv4 {
			t.Fatalf("gave away %v", reply.YourIPAddr)
		}
		destination(m, reply)
		reply.ToBytes()
	})
}
