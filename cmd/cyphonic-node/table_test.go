package main

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/cyphonic/cyphonic/internal/endpoint"
	"github.com/cyphonic/cyphonic/node"
)

func TestTheTableShowsWhatMatters(t *testing.T) {
	s := node.Status{
		Name: "viewer", Phase: "Up", FQDN: "viewer.lab.example", VirtualIPv4: netip.MustParseAddr("10.77.0.5"), Interface: "cyphonic0",
		Status: endpoint.Status{Locals: []endpoint.LocalStatus{{
			Registered: true, NATed: true, Observed: netip.MustParseAddrPort("198.51.100.2:4500"), NotAfter: time.Now(),
			Peers: []endpoint.PeerStatus{{FQDN: "cam1.lab.example", Path: "relayed", Address: netip.MustParseAddrPort("203.0.113.9:7443"), RTTSeconds: .0123, TxBytes: 3 << 20, RxBytes: 5}},
		}}},
	}
	if got := roundTrip(0); got != "-" {
		t.Errorf("an unknown round trip is shown as %q", got)
	}
	var b bytes.Buffer
	if err := writeStatus(&b, s); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"viewer.lab.example", "10.77.0.5 on cyphonic0", "198.51.100.2:4500 (behind NAT)", "relayed (no answer)", "12.3 ms", "3.0 MiB", "5 B"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("%q is missing in\n%s", want, b.String())
		}
	}
}
