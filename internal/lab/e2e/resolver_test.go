package e2e

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/cyphonic/cyphonic/internal/lab/overlay"
	"github.com/cyphonic/cyphonic/internal/lab/probe"
)

func TestOtherNamesPassThroughUntouched(t *testing.T) {
	s, ctx := use(t, time.Minute)
	world := map[string]netip.Addr{"www.example.com.": netip.MustParseAddr("203.0.113.80")}
	conn, err := s.lab.Host(overlay.Cloud).ListenUDP(overlay.CloudIPv4 + ":53")
	if err != nil {
		t.Fatal(err)
	}
	serving, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- probe.ServeDNS(serving, conn, world) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the DNS of the world: %v", err)
		}
	})
	for _, row := range []struct {
		name, asked string
		code        int
		count       int
	}{
		{"a name of the world", "www.example.com", dns.RcodeSuccess, 1},
		{"a missing name of the world", "nobody.example.com", dns.RcodeNameError, 0},
		{"a missing name of the overlay", "nobody." + domain, dns.RcodeNameError, 0},
		{"a name of the overlay", fqdn("desk"), dns.RcodeSuccess, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			answer, err := overlay.Ask(ctx, s.lab.Host("viewer"), row.asked, dns.TypeA)
			if err != nil || answer.Code != row.code || len(answer.Addresses) != row.count {
				t.Errorf("got %+v, %v", answer, err)
			}
		})
	}
}
